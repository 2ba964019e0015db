import { type KeyPurpose, MasterKey } from "../platform/crypto.js";

/** A keyed hash, and the master key that it was made under. */
export interface KeyedHash {
  readonly keyId: string;
  readonly hash: Uint8Array<ArrayBuffer>;
}

/**
 * A master key, and others that what is stored may still be protected by (docs/adr: change of the master key).
 * Whatever is written is written under the first; whatever is read may be under any. Which one it is needs no
 * telling: a ciphertext opens under its own key alone (AES-GCM authenticates), and rows of hashes name theirs.
 */
export class MasterKeyRing extends MasterKey {
  /** The first, which opens what is its own alone. */
  readonly present: MasterKey;
  readonly others: readonly MasterKey[];

  /**
   * @param material of the key to write under
   * @param others of keys to read under as well; the same key again counts once
   */
  constructor(material: string, others: readonly string[]) {
    super(material);
    this.present = new MasterKey(material);
    const keys = new Map(others.map((other) => new MasterKey(other)).map((key) => [key.id, key]));
    keys.delete(this.id);
    this.others = [...keys.values()];
  }

  override hashes(purpose: KeyPurpose, secret: string): Uint8Array<ArrayBuffer>[] {
    return hashesOf(this, purpose, secret).map(({ hash }) => hash);
  }

  override decrypt(purpose: KeyPurpose, context: string, sealed: Uint8Array): Buffer {
    try {
      return super.decrypt(purpose, context, sealed);
    } catch (error) {
      for (const key of this.others) {
        const opened = tryDecrypt(key, purpose, context, sealed);
        if (opened !== null) return opened;
      }
      throw error;
    }
  }
}

/** The clear text; null where it was encrypted under another key. */
export function tryDecrypt(
  key: MasterKey,
  purpose: KeyPurpose,
  context: string,
  sealed: Uint8Array,
): Buffer | null {
  try {
    return key.decrypt(purpose, context, sealed);
  } catch {
    return null;
  }
}

/** Every key that stored things may be protected by, the one to write under first. */
export function keysOf(masterKey: MasterKey): readonly MasterKey[] {
  return masterKey instanceof MasterKeyRing ? [masterKey.present, ...masterKey.others] : [masterKey];
}

/** The hashes that may stand for a secret in the database, the one under the present key first. */
export function hashesOf(masterKey: MasterKey, purpose: KeyPurpose, secret: string): KeyedHash[] {
  return keysOf(masterKey).map((key) => ({ keyId: key.id, hash: key.hash(purpose, secret) }));
}

/**
 * The master key of a process.
 * @param others GATEHOUSE_MASTER_KEY_OLD: keys with commas between; empty: none
 */
export function openMasterKey(material: string, others: string): MasterKey {
  const list = others.split(",").filter((other) => other.trim() !== "");
  return list.length === 0 ? new MasterKey(material) : new MasterKeyRing(material, list);
}
