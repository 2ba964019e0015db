import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { calculateJwkThumbprint } from "jose";
import type { Clock } from "../platform/clock.js";
import type { MasterKey } from "../platform/crypto.js";
import { AppError } from "../platform/errors.js";
import type { Logger } from "../platform/logger.js";
import type { PrismaClient, PrismaTransaction } from "../platform/prisma.js";
import { keysOf } from "./master-keys.js";

/** The only algorithm that tokens are signed with and accepted under. */
export const SIGNING_ALGORITHM = "ES256";

/** A public key as RFC 7517 shows it. */
export interface PublicJwk {
  readonly kty: "EC";
  readonly crv: string;
  readonly x: string;
  readonly y: string;
  readonly kid: string;
  readonly alg: typeof SIGNING_ALGORITHM;
  readonly use: "sig";
}

/** The key that signs at present. */
export interface ActiveKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
}

/** The signing keys as issuer and verifiers need them. */
export interface SigningKeys {
  /** The key that new tokens are signed with: another one from its `activatedAt` on, to the moment. */
  readonly active: ActiveKey;
  /** What `/oauth/jwks` answers: every key that a live token may be signed with. */
  readonly jwks: { readonly keys: readonly PublicJwk[] };
  /**
   * The public key as PEM; null when no such key is published. A kid that is not known makes it look into the
   * database, at most once per `RELOAD_GAP_MS`: who sends made-up kids buys no queries with them.
   */
  publicPem(kid: string): string | null | Promise<string | null>;
  /** Reads the keys again, after a rotation. */
  reload(): Promise<void>;
  close(): void;
}

export interface SigningKeyDeps {
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How long others may keep `/oauth/jwks`. */
export const JWKS_MAX_AGE_S = 300;
/** How often a process looks for new keys. A rotation publishes a key for longer than both before it signs. */
export const RELOAD_EVERY_MS = 30_000;
const RELOAD_GAP_MS = 2_000;

/** "GATE" and a number: first of the two halves of this project's advisory locks. */
const LOCK_SPACE = 0x47415445;
const LOCK_KEYS = 1;

/** Opens the keys of the installation and makes the first one where there is none. */
export async function openSigningKeys(deps: SigningKeyDeps): Promise<SigningKeys> {
  await ensureFirstKey(deps);
  const keys = new StoredKeys(deps);
  await keys.reload();
  keys.start();
  return keys;
}

/** A key that signs from a time on. */
interface ScheduledKey extends ActiveKey {
  /** Milliseconds since 1970. */
  readonly from: number;
}

class StoredKeys implements SigningKeys {
  readonly #deps: SigningKeyDeps;
  /** In the order in which they sign. */
  #schedule: readonly ScheduledKey[] = [];
  #pems: ReadonlyMap<string, string> = new Map();
  #jwks: SigningKeys["jwks"] = { keys: [] };
  #loadedAt = 0;
  #loading: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(deps: SigningKeyDeps) {
    this.#deps = deps;
  }

  get active(): ActiveKey {
    const now = this.#deps.clock.now().getTime();
    // A key made just now on a machine whose clock is ahead signs here where there is no other; the first of them,
    // since a later one may be known to nobody else yet.
    const key = this.#schedule.findLast(({ from }) => from <= now) ?? this.#schedule[0];
    if (key === undefined) throw new AppError("unavailable", "no signing key is active");
    return key;
  }

  get jwks(): SigningKeys["jwks"] {
    return this.#jwks;
  }

  publicPem(kid: string): string | null | Promise<string | null> {
    const pem = this.#pems.get(kid);
    if (pem !== undefined) return pem;
    if (performance.now() - this.#loadedAt < RELOAD_GAP_MS) return null;
    return this.reload().then(() => this.#pems.get(kid) ?? null);
  }

  reload(): Promise<void> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.reload().catch((error: unknown) => {
        this.#deps.logger.warn({ err: error }, "the signing keys could not be read again");
      });
    }, RELOAD_EVERY_MS).unref();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  async #load(): Promise<void> {
    // Set before the query: a database that fails is not asked again at once either.
    this.#loadedAt = performance.now();
    const rows = await this.#deps.prisma.signingKey.findMany({
      where: { OR: [{ retiredAt: null }, { retiredAt: { gt: this.#deps.clock.now() } }] },
      orderBy: { createdAt: "asc" },
    });
    const jwks = rows.map((row) => row.publicJwk as unknown as PublicJwk);
    this.#pems = new Map(jwks.map((jwk) => [jwk.kid, toPem(jwk)]));
    this.#jwks = { keys: jwks };
    const known = new Map(this.#schedule.map((key) => [key.kid, key.privateKey]));
    this.#schedule = rows
      .flatMap(({ activatedAt, ...row }) => {
        if (activatedAt === null) return [];
        const privateKey = known.get(row.kid) ?? open(row, this.#deps.masterKey);
        return [{ kid: row.kid, from: activatedAt.getTime(), privateKey }];
      })
      .sort((a, b) => a.from - b.from);
  }
}

interface StoredKey {
  readonly kid: string;
  readonly keyId: string;
  readonly privateKey: Uint8Array;
}

function toPem(jwk: PublicJwk): string {
  const { kty, crv, x, y } = jwk;
  return createPublicKey({ key: { kty, crv, x, y }, format: "jwk" })
    .export({ type: "spki", format: "pem" })
    .toString();
}

function open(row: StoredKey, masterKey: MasterKey): KeyObject {
  const key = keysOf(masterKey).find(({ id }) => id === row.keyId);
  if (key === undefined) {
    throw new Error(
      `signing key ${row.kid} was encrypted under master key ${row.keyId}, not under ${masterKey.id}: ` +
        "start with the GATEHOUSE_MASTER_KEY that this database was made with",
    );
  }
  return createPrivateKey(key.decrypt("signing-keys", row.kid, row.privateKey));
}

/** Processes that start at once wait for one another here: the first makes the key, the others find it. */
async function ensureFirstKey({ prisma, masterKey, clock }: SigningKeyDeps): Promise<void> {
  await prisma.$transaction(
    async (tx) => {
      await lockKeys(tx);
      const now = clock.now();
      const live = await tx.signingKey.count({
        where: { activatedAt: { not: null }, OR: [{ retiredAt: null }, { retiredAt: { gt: now } }] },
      });
      if (live === 0) await addSigningKey(tx, masterKey, now);
    },
    { maxWait: 30_000, timeout: 30_000 },
  );
}

/** Whoever adds or retires keys does it alone, until the commit. */
export async function lockKeys(tx: PrismaTransaction): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(${LOCK_SPACE}::int, ${LOCK_KEYS}::int)`;
}

/**
 * Makes a key and stores it, its private part encrypted.
 * @param activatedAt from when on it signs; null: published only, so that verifiers know it beforehand
 * @returns its kid, the thumbprint of RFC 7638
 */
export async function addSigningKey(
  tx: PrismaTransaction,
  masterKey: MasterKey,
  activatedAt: Date | null,
): Promise<string> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { kty, crv, x, y } = publicKey.export({ format: "jwk" });
  const kid = await calculateJwkThumbprint({ kty, crv, x, y } as { kty: string });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" });
  await tx.signingKey.create({
    data: {
      kid,
      algorithm: SIGNING_ALGORITHM,
      publicJwk: { kty, crv, x, y, kid, alg: SIGNING_ALGORITHM, use: "sig" } as Record<string, string>,
      privateKey: masterKey.encrypt("signing-keys", kid, pem),
      keyId: masterKey.id,
      activatedAt,
    },
  });
  return kid;
}
