import { keysOf, tryDecrypt } from "../auth/master-keys.js";
import type { KeyPurpose, MasterKey } from "../platform/crypto.js";
import type { Database, Sql } from "../platform/sql.js";

/** A column that holds what is encrypted under the master key; the row's id is its context. */
interface SealedColumn {
  readonly table: string;
  readonly id: string;
  readonly idType: "text" | "uuid";
  readonly column: string;
  /** The column that names the master key; null: only trying tells. */
  readonly keyId: string | null;
  readonly purpose: KeyPurpose;
}

/** Everything that is encrypted. */
const SEALED: readonly SealedColumn[] = [
  {
    ...{ table: "signing_keys", id: "kid", idType: "text", column: "private_key", keyId: "key_id" },
    purpose: "signing-keys",
  },
  {
    ...{ table: "connections", id: "id", idType: "uuid", column: "secrets", keyId: "key_id" },
    purpose: "connection-secrets",
  },
  {
    ...{ table: "deployments", id: "id", idType: "uuid", column: "secrets", keyId: "key_id" },
    purpose: "deployment-secrets",
  },
  {
    ...{ table: "operations", id: "id", idType: "uuid", column: "payload_secrets", keyId: null },
    purpose: "operation-payloads",
  },
  {
    ...{ table: "webhook_secrets", id: "id", idType: "uuid", column: "sealed", keyId: "key_id" },
    purpose: "webhook-secrets",
  },
];

const HASHED = ["api_client_secrets", "api_keys", "sessions"] as const;
const BATCH = 200;

/** What has come of the rows of a table so far. */
export interface RewrapProgress {
  readonly table: string;
  readonly done: number;
  /** Rows that open under none of the keys. */
  readonly left: number;
}

interface SealedRow {
  readonly id: string;
  readonly sealed: Buffer;
}

/**
 * Encrypts everything anew under the first of the keys, in batches that are each whole or nothing. Safe beside
 * running processes that know all the keys, and safe to break off and to repeat: what is done is skipped, and a row
 * that somebody else writes meanwhile is theirs.
 * @param tell told once per table
 */
export async function rewrap(
  db: Database,
  masterKey: MasterKey,
  tell: (progress: RewrapProgress) => void,
): Promise<{ readonly done: number; readonly left: number }> {
  if (keysOf(masterKey).length === 1) {
    throw new Error(
      "GATEHOUSE_MASTER_KEY_OLD is not set: it names the key that things are encrypted under now",
    );
  }
  let [done, left] = [0, 0];
  for (const sealed of SEALED) {
    const progress = await rewrapTable(db, masterKey, sealed);
    tell(progress);
    done += progress.done;
    left += progress.left;
  }
  return { done, left };
}

async function rewrapTable(
  db: Database,
  masterKey: MasterKey,
  sealed: SealedColumn,
): Promise<RewrapProgress> {
  let [done, left] = [0, 0];
  let after: string | null = null;
  for (;;) {
    const rows: SealedRow[] = await db.rows<SealedRow>(nextBatch(sealed), [after, masterKey.id]);
    await db.transaction(async (tx) => {
      for (const row of rows) {
        const opened = openRow(masterKey, sealed, row);
        if (opened === null) left += 1;
        else if (opened !== "present") done += await replace(tx, masterKey, sealed, row, opened);
      }
    });
    after = rows.at(-1)?.id ?? null;
    if (rows.length < BATCH) return { table: sealed.table, done, left };
  }
}

function nextBatch({ table, id, idType, column, keyId }: SealedColumn): string {
  const keyOfRow = keyId ?? "NULL";
  return `SELECT ${id}::text AS id, ${column} AS sealed FROM ${table}
    WHERE ${column} IS NOT NULL AND ${keyOfRow} IS DISTINCT FROM $2::text
      AND ($1::${idType} IS NULL OR ${id} > $1::${idType})
    ORDER BY ${id} LIMIT ${BATCH}`;
}

/** The clear text; `present` where it is under the present key already; null where no key opens it. */
function openRow(
  masterKey: MasterKey,
  { purpose }: SealedColumn,
  { id, sealed }: SealedRow,
): Buffer | "present" | null {
  const [present, ...others] = keysOf(masterKey);
  if (present !== undefined && tryDecrypt(present, purpose, id, sealed) !== null) return "present";
  for (const key of others) {
    const opened = tryDecrypt(key, purpose, id, sealed);
    if (opened !== null) return opened;
  }
  return null;
}

async function replace(
  tx: Sql,
  masterKey: MasterKey,
  { table, id, idType, column, keyId, purpose }: SealedColumn,
  row: SealedRow,
  opened: Buffer,
): Promise<number> {
  const values: unknown[] = [masterKey.encrypt(purpose, row.id, opened), row.id, row.sealed];
  let changes = `${column} = $1`;
  if (keyId !== null) changes += `, ${keyId} = $${values.push(masterKey.id)}`;
  return tx.run(`UPDATE ${table} SET ${changes} WHERE ${id} = $2::${idType} AND ${column} = $3`, values);
}

/** How many hashes are under other keys: those keys are still needed for them. */
export async function countOldHashes(
  db: Database,
  keyId: string,
): Promise<{ readonly table: string; readonly count: number }[]> {
  const counts = [];
  for (const table of HASHED) {
    const rows = await db.rows<{ count: number }>(
      `SELECT count(*)::int AS count FROM ${table} WHERE key_id <> $1 AND (expires_at IS NULL OR expires_at > now())`,
      [keyId],
    );
    counts.push({ table, count: rows[0]?.count ?? 0 });
  }
  return counts.filter(({ count }) => count > 0);
}
