import { isDeepStrictEqual } from "node:util";
import type { Found } from "./destinations.js";
import type { Job } from "./jobs.js";
import { CONTROL, type Site } from "./site.js";

interface Run {
  readonly number: number;
  readonly state: string;
  readonly operationId: string;
  readonly status: string;
  /** Milliseconds, by the clock of the server that has all databases of a round. */
  readonly from: number;
  readonly to: number;
}

const RUNS = `SELECT r.number, r.state, r.operation_id AS "operationId", o.status,
    (extract(epoch FROM o.started_at) * 1000)::float8 AS "from", (extract(epoch FROM o.finished_at) * 1000)::float8 AS "to"
  FROM runs r JOIN operations o ON o.id = r.operation_id WHERE r.job_id = $1 ORDER BY r.number`;

/** What a run and its job are, when their operation has ended. */
const ENDINGS: Readonly<Record<string, { readonly run: string; readonly job: string }>> = {
  succeeded: { run: "FINISHED", job: "FINISHED" },
  failed: { run: "FAILED", job: "FAILED" },
  cancelled: { run: "CANCELLED", job: "STOPPED" },
};

/** That every run took effect exactly once where its operation succeeded, and not at all where it did not. */
export async function checkJob(site: Site, job: Job): Promise<void> {
  const say = (what: string): void =>
    site.findings.add(`job ${job.number} (${job.name}, ${job.id}): ${what}`);
  const runs = await site.server.query<Run>(CONTROL, RUNS, [job.id]);
  const [row] = await site.server.query<{ state: string; runs: number }>(
    CONTROL,
    "SELECT state, run_count AS runs FROM jobs WHERE id = $1",
    [job.id],
  );
  const numbers = runs.map(({ number }) => number);
  if (
    !isDeepStrictEqual(
      numbers,
      runs.map((_, i) => i + 1),
    ) ||
    row?.runs !== runs.length
  )
    say(`${row?.runs} runs were counted, and these are there: ${numbers.join(", ")}`);
  for (const { number, state, status, operationId } of runs) {
    if (state !== ENDINGS[status]?.run)
      say(`run ${number} is ${state}, its operation ${operationId} ${status}`);
  }
  const last = runs.at(-1);
  if (row?.state !== (last === undefined ? "PENDING" : ENDINGS[last.status]?.job))
    say(`is ${row?.state}, its last operation ${last?.operationId} ${last?.status}`);
  checkEffects(job, runs, await job.look(), say);
}

function checkEffects(job: Job, runs: readonly Run[], found: Found, say: (what: string) => void): void {
  const succeeded = runs.filter(({ status }) => status === "succeeded").map(({ number }) => number);
  const expected = job.countsEffects ? succeeded : succeeded.slice(-1);
  if (!isDeepStrictEqual(found.effects, expected)) {
    const wrong = runs.filter(({ number }) => count(found.effects, number) !== count(expected, number));
    const told = wrong.map(
      ({ number, status, operationId }) =>
        `run ${number} (operation ${operationId}, ${status}) took effect ${count(found.effects, number)} times`,
    );
    say(`effects ${found.effects.join(", ")}; ${told.join("; ")}`);
  }
  if (!isDeepStrictEqual(found.content, succeeded.length === 0 ? null : job.content)) {
    const sizes = Object.entries(found.content ?? {}).map(([stream, rows]) => `${stream} ${rows.length}`);
    say(`the destination is not as the source: ${sizes.join(", ")}`);
  }
  const last = runs.findLast(({ status }) => status === "succeeded");
  const isOfLast = (at: number): boolean => last !== undefined && last.from <= at && at <= last.to;
  if (found.reads.length > 1 || !found.reads.every(isOfLast))
    say(
      `the destination holds what was read at ${found.reads.join(" and ")}, and not by the last run that succeeded: ${JSON.stringify(last)}`,
    );
  if (found.leftovers.length > 0) say(`left behind at the destination: ${found.leftovers.join(", ")}`);
}

function count(numbers: readonly number[], number: number): number {
  return numbers.filter((one) => one === number).length;
}

/** Of what no request waited for. */
const LATER = "operation_type = 'check' AND payload ->> 'role' = 'destination'";

/** Rows of the ledger that must not be, by what is wrong with them. */
const WRONG: Readonly<Record<string, string>> = {
  "has not ended": "SELECT id::text, status::text AS more FROM operations WHERE finished_at IS NULL",
  "has a lease after its end":
    "SELECT id::text, leased_by AS more FROM operations WHERE finished_at IS NOT NULL AND (leased_by IS NOT NULL OR lease_expires_at IS NOT NULL)",
  "keeps secrets after its end":
    "SELECT id::text, '' AS more FROM operations WHERE finished_at IS NOT NULL AND payload_secrets IS NOT NULL",
  "holds a lock after its end":
    "SELECT operation_id::text AS id, resource_type || ' ' || resource_id AS more FROM operation_locks",
  "failed by a fault that is not a store's":
    "SELECT id::text, operation_type || ' ' || error::text AS more FROM operations WHERE status = 'failed' AND error ->> 'type' <> 'urn:gatehouse:error:unreachable'",
  "did not find what is there": `SELECT id::text, result::text AS more FROM operations WHERE ${LATER} AND status = 'succeeded' AND result ->> 'status' <> 'SUCCEEDED'`,
  "is without a run":
    "SELECT id::text, '' AS more FROM operations o WHERE operation_type = 'sync' AND (SELECT count(*) FROM runs r WHERE r.operation_id = o.id) <> 1",
  "has a step that goes on":
    "SELECT r.operation_id::text AS id, s.name || ' ' || s.state AS more FROM steps s JOIN runs r ON r.id = s.run_id WHERE s.ended_at IS NULL OR s.state IN ('PENDING', 'RUNNING')",
  "was retried by one that is not there":
    "SELECT id::text, next_operation_id::text AS more FROM operations o WHERE next_operation_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM operations n WHERE n.id = o.next_operation_id)",
  "was retried by two":
    "SELECT next_operation_id::text AS id, count(*)::text AS more FROM operations WHERE next_operation_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1",
};

/** That the ledger holds what clients were told of, all of it ended and nothing else. */
export async function checkLedger(site: Site): Promise<void> {
  const { server, findings, journal } = site;
  for (const [wrong, query] of Object.entries(WRONG)) {
    for (const { id, more } of await server.query<{ id: string; more: string }>(CONTROL, query))
      findings.add(`operation ${id} ${wrong}: ${more}`);
  }
  const rows = await server.query<{ id: string; more: string }>(
    CONTROL,
    `SELECT id, resource_id || ', request ' || request_id || ', accepted ' || created_at AS more
     FROM operations WHERE operation_type = 'sync' AND created_by ->> 'kind' <> 'system' OR ${LATER}`,
  );
  const there = new Map(rows.map(({ id, more }) => [id, more]));
  const told = new Set(journal.operations());
  for (const id of told) if (!there.has(id)) findings.add(`operation ${id} was accepted and is not there`);
  for (const [id, more] of there)
    if (!told.has(id)) findings.add(`operation ${id} is there, and no client was told of it: ${more}`);
}

/** Operations of one type and state. */
export interface OperationCount {
  readonly name: string;
  readonly count: number;
  readonly attempts: number;
  /** Those of them that had more than one attempt. */
  readonly repeated: number;
}

export function countOperations({ server }: Site): Promise<OperationCount[]> {
  return server.query(
    CONTROL,
    `SELECT operation_type || ' ' || status AS name, count(*)::int AS count, sum(attempt)::int AS attempts,
       count(*) FILTER (WHERE attempt > 1)::int AS repeated
     FROM operations GROUP BY 1 ORDER BY 1`,
  );
}

const OPEN = `SELECT FROM operations WHERE finished_at IS NULL
  UNION ALL SELECT FROM jobs WHERE queued_at IS NOT NULL OR next_run_at <= clock_timestamp()
  UNION ALL SELECT FROM webhook_deliveries WHERE status = 'pending' LIMIT 1`;

/** Whether every operation has ended, every schedule has had its due, and everything was told. */
export async function isAllDone({ server }: Site): Promise<boolean> {
  const open = await server.query(CONTROL, OPEN);
  return open.length === 0;
}

/** That processes that have ended in order leave nothing behind in the database. */
export async function checkDeserted({ server, findings }: Site): Promise<void> {
  const sessions = await server.query<{ what: string }>(
    "postgres",
    `SELECT datname || ': ' || coalesce(application_name, '') || ' ' || left(query, 80) AS what FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`,
  );
  for (const { what } of sessions) findings.add(`a session is left: ${what}`);
  const prepared = await server.query<{ gid: string }>("postgres", "SELECT gid FROM pg_prepared_xacts");
  for (const { gid } of prepared) findings.add(`a prepared transaction is left: ${gid}`);
}
