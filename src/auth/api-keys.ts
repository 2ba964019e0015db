import { LRUCache } from "lru-cache";
import type { MasterKey } from "../platform/crypto.js";
import type { Logger } from "../platform/logger.js";
import type { Sql, Statement } from "../platform/sql.js";
import { hashesOf } from "./master-keys.js";
import type { Identity } from "./principal.js";
import { createRecordCache, type RecordCache } from "./record-cache.js";
import { Rekeying } from "./rekeying.js";
import { expandScopes } from "./scopes.js";
import { apiKeyUses, type Uses } from "./uses.js";

/** What every key begins with: it can be told from a token, and found by secret scanners. */
export const API_KEY_PREFIX = "gh_";

/** What the database says of a key at one moment. */
export interface ApiKeyRecord {
  readonly identity: Identity;
  readonly disabled: boolean;
  /** Milliseconds since 1970; null: never. */
  readonly expiresAt: number | null;
}

interface ApiKeyRow {
  readonly hash: string;
  readonly id: string;
  readonly organization_id: string;
  readonly name: string;
  readonly scopes: string[];
  readonly all_projects: boolean;
  readonly projects: string[];
  readonly disabled: boolean;
  readonly expires_at: Date | null;
}

const FIND: Statement = {
  name: "auth_find_api_keys",
  text: `SELECT encode(k.hash, 'hex') AS hash, k.id, k.organization_id, k.name, k.scopes, k.all_projects,
           ARRAY(SELECT p.project_id::text FROM api_key_projects p WHERE p.api_key_id = k.id ORDER BY 1) AS projects,
           k.disabled_at IS NOT NULL OR o.disabled_at IS NOT NULL AS disabled, k.expires_at
         FROM api_keys k JOIN organizations o ON o.id = k.organization_id
         WHERE k.hash IN (SELECT decode(h, 'hex') FROM unnest($1::text[]) AS h)`,
};

const MAX_HASHES = 10_000;

/** Authenticates API keys from memory, no older than a second. */
export class ApiKeys {
  readonly #records: RecordCache<ApiKeyRecord>;
  readonly #masterKey: MasterKey;
  readonly #rekeying: Rekeying;
  /** Of keys that were found: their hash, so that it is not made for every request. */
  readonly #hashes = new LRUCache<string, string>({ max: MAX_HASHES });
  readonly #uses: Uses;

  constructor(sql: Sql, masterKey: MasterKey, logger: Logger) {
    this.#masterKey = masterKey;
    this.#rekeying = new Rekeying(sql, masterKey, logger);
    this.#records = createRecordCache<ApiKeyRow, ApiKeyRecord>({
      logger,
      read: (hashes) => sql.rows<ApiKeyRow>(FIND, [hashes]),
      idOf: (row) => row.hash,
      toRecord,
    });
    this.#uses = apiKeyUses(sql, logger);
  }

  /** Whom a key stands for that was good before, where memory is fresh enough to say; else null. */
  recall(key: string, now: number): Identity | null {
    const hash = this.#hashes.get(key);
    const record = hash === undefined ? null : this.#records.get(hash);
    if (record instanceof Promise) {
      // `authenticate` asks again, and has what is under way for it; a failure is told there.
      record.catch(() => {});
      return null;
    }
    return this.admit(record, now);
  }

  /** Whom a key stands for; null where it is unknown, disabled or expired. */
  async authenticate(key: string, now: number): Promise<Identity | null> {
    return this.admit(await this.find(key), now);
  }

  /** Whom a record stands for, and that it was used; null where there is none, or it is disabled or expired. */
  admit(record: ApiKeyRecord | null, now: number): Identity | null {
    if (record === null || record.disabled) return null;
    if (record.expiresAt !== null && record.expiresAt <= now) return null;
    this.#uses.used(record.identity.id);
    return record.identity;
  }

  /** What is known of a key: by the hash under the present master key, else under those that are still accepted. */
  async find(key: string): Promise<ApiKeyRecord | null> {
    const [present, ...former] = hashesOf(this.#masterKey, "api-keys", key).map(({ hash }) => hash);
    const record = present === undefined ? null : await this.#records.get(toHex(present));
    if (record !== null && present !== undefined) this.#hashes.set(key, toHex(present));
    if (record !== null) return record;
    for (const hash of former) {
      const found = await this.#records.get(toHex(hash));
      if (found === null) continue;
      this.#rekeying.apiKeyUsed(key, hash);
      return found;
    }
    return null;
  }

  async close(): Promise<void> {
    this.#records.close();
    await this.#uses.close();
  }
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function toRecord(row: ApiKeyRow): ApiKeyRecord {
  const identity: Identity = {
    kind: "key",
    id: row.id,
    name: row.name,
    organizationId: row.organization_id,
    projects: row.all_projects ? "all" : new Set(row.projects),
    scopes: expandScopes(row.scopes),
  };
  return { identity, disabled: row.disabled, expiresAt: row.expires_at?.getTime() ?? null };
}
