import type { Random } from "./random.js";
import { type Actor, CONTROL, type Site } from "./site.js";

/** Too seldom for a round: the ticks that there are come from here. */
export const FREQUENCY = "@yearly";

/** Where each tick is written down, in the statement that makes it come: whatever breaks, the count is right. */
export const TICKS_TABLE = "CREATE TABLE fault_ticks (job_id uuid NOT NULL)";

const TICK = `WITH due AS (
    UPDATE jobs SET next_run_at = clock_timestamp() WHERE id = $1 AND next_run_at > clock_timestamp() RETURNING id)
  INSERT INTO fault_ticks SELECT id FROM due RETURNING job_id`;

/** Lets the time of a schedule come, whatever its job does at present. */
export const tick: Actor = {
  name: "tick",
  weight: 3,
  async act(site: Site, random: Random) {
    const job = random.pick(site.jobs.filter(({ overlap }) => overlap !== null));
    // The server may be away, on purpose.
    const came = await site.server.query(CONTROL, TICK, [job.id]).catch(() => []);
    if (came.length > 0) site.outcomes.add(`tick (${job.overlap})`);
  },
};

interface Told {
  readonly id: string;
  readonly overlap: string;
  readonly ticks: number;
  readonly runs: number;
  readonly skipped: number;
  readonly failed: number;
}

const audited = (action: string): string =>
  `(SELECT count(*)::int FROM audit_events a WHERE a.target_id::uuid = j.id AND a.action = 'schedule.${action}')`;

const TOLD = `SELECT j.id, j.overlap, (SELECT count(*)::int FROM fault_ticks t WHERE t.job_id = j.id) AS ticks,
    (SELECT count(*)::int FROM runs r WHERE r.job_id = j.id AND r.trigger = 'schedule') AS runs,
    ${audited("skipped")} AS skipped, ${audited("failed")} AS failed
  FROM jobs j WHERE j.schedule IS NOT NULL`;

/** A run's operation is claimed after it was accepted, and that is after the end of the run before. */
const AT_ONCE = `SELECT b.operation_id AS id FROM runs a JOIN runs b ON b.job_id = a.job_id AND b.number > a.number
  WHERE b.started_at < a.ended_at`;

/** That each tick has started one run, or was let pass and written down; and that no job had two runs at once. */
export async function checkTicks({ server, findings }: Site): Promise<void> {
  for (const { id, overlap, ticks, runs, skipped, failed } of await server.query<Told>(CONTROL, TOLD)) {
    if (failed === 0 && ticks === runs + skipped) continue;
    findings.add(
      `job ${id} (${overlap}): ${ticks} ticks, ${runs} runs by schedule, ${skipped} skipped, ${failed} failed`,
    );
  }
  for (const { id } of await server.query<{ id: string }>(CONTROL, AT_ONCE))
    findings.add(`operation ${id} began before the end of the run before`);
}
