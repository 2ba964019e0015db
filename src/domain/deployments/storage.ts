import type { Sql } from "../../platform/sql.js";

/** What a deployment past its storage limit may still do. */
export type StorageHold = "none" | "read_only" | "closed";

/** Past the limit nothing more is written; well past it, as a server may still fill its disk, nothing is done at all. */
const CLOSED_AT = 1.2;
/** Released only somewhat below: else it would come and go. */
const RELEASED_AT = 0.95;

/** What a deployment may still do with so much data. */
export function holdFor(bytes: number, limit: number, present: StorageHold): StorageHold {
  if (bytes > limit * CLOSED_AT) return "closed";
  if (bytes > limit)
    return present === "closed" && bytes > limit * RELEASED_AT * CLOSED_AT ? "closed" : "read_only";
  return bytes > limit * RELEASED_AT ? (present === "none" ? "none" : "read_only") : "none";
}

const RECORD = "UPDATE deployments SET storage_hold = $2, storage_bytes = $3 WHERE id = $1";

/** What its server was told that it may still do. */
export async function recordHold(
  sql: Sql,
  deploymentId: string,
  hold: StorageHold,
  bytes: number,
): Promise<void> {
  await sql.run(RECORD, [deploymentId, hold, bytes]);
}
