import type { Sql } from "../platform/sql.js";
import type { LockTarget } from "./new-operation.js";

const HOLDER = {
  name: "operation_holder",
  text: `SELECT operation_id AS id FROM operation_locks WHERE resource_type = $1 AND resource_id = $2`,
};

/**
 * The operation that has a lock; null: none has. Who asks holds the row of what is locked, so that none can take it: a
 * statement that takes that row may still see locks as they were before it waited.
 */
export async function holderOf(tx: Sql, { type, id }: LockTarget): Promise<string | null> {
  const [holder] = await tx.rows<{ id: string }>(HOLDER, [type, id]);
  return holder?.id ?? null;
}
