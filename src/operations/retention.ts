import { inBatches } from "../platform/batches.js";
import type { Sql } from "../platform/sql.js";

const BATCH = 1_000;

/**
 * What every UUIDv7 of an earlier moment is below (RFC 9562 section 5.7): the oldest rows are found by their primary
 * key, however many younger ones there are. `$1` is in days.
 */
export const FIRST_ID_KEPT = `(lpad(to_hex(floor(extract(epoch FROM now() - $1::int * interval '1 day') * 1000)::bigint), 12, '0')
  || repeat('0', 20))::uuid`;

const PRUNE = {
  name: "operations_prune",
  text: `DELETE FROM operations WHERE id = ANY (ARRAY(
           SELECT id FROM operations
           WHERE id < ${FIRST_ID_KEPT} AND finished_at < now() - $1::int * interval '1 day'
             AND status IN ('succeeded', 'failed', 'cancelled')
           ORDER BY id LIMIT ${BATCH} FOR UPDATE SKIP LOCKED))`,
};

/** Removes operations that ended more than `days` ago, in batches; says how many. Their runs stay. */
export function pruneOperations(sql: Sql, days: number, signal?: AbortSignal): Promise<number> {
  return inBatches(BATCH, signal, () => sql.run(PRUNE, [days]));
}
