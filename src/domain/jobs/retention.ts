import { FIRST_ID_KEPT } from "../../operations/retention.js";
import { inBatches } from "../../platform/batches.js";
import type { Database } from "../../platform/sql.js";

/** Each with all that its steps printed. */
const BATCH = 50;

const OLD = {
  name: "runs_old",
  text: `SELECT id FROM runs WHERE id < ${FIRST_ID_KEPT} AND ended_at < now() - $1::int * interval '1 day'
         ORDER BY id LIMIT ${BATCH} FOR UPDATE SKIP LOCKED`,
};

/**
 * Removes runs that ended more than `days` ago, with their steps and logs, in batches; says how many. They have a
 * retention of their own: no run needs its operation, and no operation its run.
 */
export function pruneRuns(db: Database, days: number, signal?: AbortSignal): Promise<number> {
  return inBatches(BATCH, signal, () =>
    db.transaction(async (tx) => {
      const ids = (await tx.rows<{ id: string }>(OLD, [days])).map(({ id }) => id);
      await tx.run("DELETE FROM step_logs WHERE run_id = ANY ($1::uuid[])", [ids]);
      await tx.run("DELETE FROM runs WHERE id = ANY ($1::uuid[])", [ids]);
      return ids.length;
    }),
  );
}
