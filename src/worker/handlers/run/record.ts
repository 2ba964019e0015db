import {
  type JobEvent,
  type JobState,
  next,
  type RunState,
  type StepState,
} from "../../../domain/jobs/state.js";
import type { ClaimedOperation, Outcome } from "../../../operations/operation.js";
import { type Sql, toJsonb } from "../../../platform/sql.js";
import type { RunPayload } from "./plan.js";

export interface Totals {
  readonly rows: number;
  readonly bytes: number;
}

/** Shows a run and its steps as running; a later attempt finds them so already. */
export async function recordStart(tx: Sql, runId: string): Promise<void> {
  await tx.run(`UPDATE runs SET state = 'RUNNING', started_at = coalesce(started_at, now()) WHERE id = $1`, [
    runId,
  ]);
  await tx.run(
    `UPDATE steps SET state = 'RUNNING', started_at = coalesce(started_at, now()) WHERE run_id = $1`,
    [runId],
  );
}

/** What a run has moved so far. */
export async function recordTotals(tx: Sql, runId: string, totals: Totals): Promise<void> {
  await tx.run(`UPDATE runs SET rows = $2, bytes = $3 WHERE id = $1`, [runId, totals.rows, totals.bytes]);
  await tx.run(`UPDATE steps SET rows = $2, bytes = $3 WHERE run_id = $1`, [
    runId,
    totals.rows,
    totals.bytes,
  ]);
}

interface Ending {
  readonly run: RunState;
  readonly step: StepState;
  readonly event: JobEvent;
}

const ENDINGS: Readonly<Record<Outcome["status"], Ending>> = {
  succeeded: { run: "FINISHED", step: "SUCCEEDED", event: "run-succeeded" },
  failed: { run: "FAILED", step: "CANCELLED", event: "run-failed" },
  cancelled: { run: "CANCELLED", step: "CANCELLED", event: "run-cancelled" },
};

/** Ends the run, its steps and the job's state, in the transaction that ends the operation. */
export async function recordEnd(tx: Sql, operation: ClaimedOperation, outcome: Outcome): Promise<void> {
  const { jobId, runId } = operation.payload as RunPayload;
  const ending = ENDINGS[outcome.status];
  const error = outcome.status === "failed" ? outcome.error : null;
  const json = error === null ? null : toJsonb(error);
  // The vertex at fault has failed; the others only ended with it.
  const culprit = error?.["vertex"] ?? null;
  await tx.run(`UPDATE runs SET state = $2, error = $3, ended_at = now() WHERE id = $1`, [
    runId,
    ending.run,
    json,
  ]);
  await tx.run(
    `UPDATE steps SET ended_at = now(),
       state = CASE WHEN $3::jsonb IS NOT NULL AND ($4::text IS NULL OR name = $4) THEN 'FAILED' ELSE $2 END,
       error = CASE WHEN $4::text IS NULL OR name = $4 THEN $3::jsonb END
     WHERE run_id = $1`,
    [runId, ending.step, json, culprit],
  );
  const [job] = await tx.rows<{ state: JobState }>("SELECT state FROM jobs WHERE id = $1 FOR UPDATE", [
    jobId,
  ]);
  const state = job === undefined ? null : next(job.state, ending.event);
  if (state !== null) await tx.run("UPDATE jobs SET state = $2 WHERE id = $1", [jobId, state]);
}
