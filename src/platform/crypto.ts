import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";

/** What a derived key is for; each purpose has a key of its own. */
export type KeyPurpose =
  | "signing-keys"
  | "connection-secrets"
  | "client-secrets"
  | "operation-payloads"
  | "sessions"
  | "bootstrap"
  | "api-keys"
  | "idempotency-answers"
  | "deployment-secrets"
  | "webhook-secrets";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * The master key and what is derived from it (HKDF-SHA-256, RFC 5869, one key per purpose). Encrypts with
 * AES-256-GCM; `context` is authenticated too, so a ciphertext moved to another row does not open.
 */
export class MasterKey {
  /** Names this key in the rows that it protects. */
  readonly id: string;
  readonly #root: Buffer;
  readonly #derived = new Map<KeyPurpose, Buffer>();

  /** @param material 32 bytes, base64 or base64url or hex. Throws when it is not 32 bytes. */
  constructor(material: string) {
    const root = decodeKey(material);
    if (root === null) {
      throw new Error(
        "GATEHOUSE_MASTER_KEY must be 32 random bytes as base64 or hex (openssl rand -base64 32)",
      );
    }
    this.#root = root;
    this.id = createHash("sha256").update("gatehouse key id").update(root).digest("hex").slice(0, 16);
  }

  /** New key material for a first start, base64. */
  static generate(): string {
    return randomBytes(32).toString("base64");
  }

  #key(purpose: KeyPurpose): Buffer {
    let key = this.#derived.get(purpose);
    if (key === undefined) {
      key = Buffer.from(hkdfSync("sha256", this.#root, "gatehouse", purpose, 32));
      this.#derived.set(purpose, key);
    }
    return key;
  }

  /** Nonce, tag and ciphertext in one buffer. */
  encrypt(purpose: KeyPurpose, context: string, plaintext: string | Uint8Array): Uint8Array<ArrayBuffer> {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#key(purpose), nonce).setAAD(Buffer.from(context));
    const body = Buffer.concat([cipher.update(plaintext as string), cipher.final()]);
    return new Uint8Array(Buffer.concat([nonce, cipher.getAuthTag(), body]));
  }

  /** The reverse of `encrypt`; throws when the key, the purpose or the context is another one. */
  decrypt(purpose: KeyPurpose, context: string, sealed: Uint8Array): Buffer {
    const bytes = Buffer.from(sealed);
    const decipher = createDecipheriv("aes-256-gcm", this.#key(purpose), bytes.subarray(0, NONCE_BYTES));
    decipher.setAAD(Buffer.from(context));
    decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
  }

  /** The hashes that may stand for a secret in the database: under this key, and under others that still count. */
  hashes(purpose: KeyPurpose, secret: string): Uint8Array<ArrayBuffer>[] {
    return [this.hash(purpose, secret)];
  }

  /** Keyed hash of a high-entropy secret (HMAC-SHA-256); low-entropy passwords need argon2id instead. */
  hash(purpose: KeyPurpose, secret: string): Uint8Array<ArrayBuffer> {
    return new Uint8Array(createHmac("sha256", this.#key(purpose)).update(secret).digest());
  }
}

function decodeKey(material: string): Buffer | null {
  const text = material.trim();
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, "hex");
  const bytes = Buffer.from(text, "base64");
  return bytes.length === 32 ? bytes : null;
}

/** Equality in constant time, of values whose length is no secret. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
