import { holderOf } from "../../operations/holder.js";
import type { Ledger } from "../../operations/ledger.js";
import type { Sql } from "../../platform/sql.js";
import type { DueSchedule, ScheduleBook } from "../schedules/engine.js";
import { next, STARTABLE } from "./state.js";
import { acceptRun, type JobToRun, RUN_LOCK } from "./sync.js";

type DueJob = JobToRun & Omit<DueSchedule, "obstacle">;
type ScheduledJob = JobToRun & DueSchedule;

const ON = "j.active AND j.schedule IS NOT NULL AND j.next_run_at IS NOT NULL AND j.deleted_at IS NULL";

/** A job, as far as its schedule needs it; held. */
const HELD = `SELECT j.id, j.organization_id AS "organizationId", j.project_id AS "projectId", j.state, j.version, v.graph,
    j.schedule AS cron, j.time_zone AS "timeZone", j.overlap, j.next_run_at AS "nextAt", j.queued_at AS "queuedAt",
    clock_timestamp() AS now
  FROM jobs j JOIN job_versions v ON v.job_id = j.id AND v.version = j.version
  WHERE ${ON}`;

/** By the time of the transaction's beginning: a condition that an index can answer, other than by `clock_timestamp()`. */
const TICKS = "j.next_run_at <= now()";

const DUE = {
  name: "jobs_due",
  text: `${HELD} AND ${TICKS} AND NOT j.id = ANY ($1::uuid[]) ORDER BY j.next_run_at LIMIT 1 FOR UPDATE OF j SKIP LOCKED`,
};

const UNBLOCKED = {
  name: "jobs_queued",
  text: `${HELD} AND j.queued_at IS NOT NULL AND j.state = ANY ($3) AND NOT j.id = ANY ($1::uuid[]) AND NOT EXISTS (
           SELECT FROM operation_locks l WHERE l.resource_type = $2 AND l.resource_id = j.id)
         ORDER BY j.queued_at LIMIT 1 FOR UPDATE OF j SKIP LOCKED`,
};

const WRITE = {
  name: "jobs_ticked",
  text: `UPDATE jobs SET next_run_at = $2, queued_at = $3,
           last_skipped_at = CASE WHEN $4 THEN clock_timestamp() ELSE last_skipped_at END WHERE id = $1`,
};

/** The schedules of jobs. Never two runs at once: one that is active, or a state that forbids one, is in the way. */
export function scheduledJobs(ledger: Ledger): ScheduleBook<ScheduledJob> {
  return {
    kind: "job",
    due: `EXISTS (SELECT FROM jobs j WHERE ${ON} AND ${TICKS}) OR EXISTS (SELECT FROM jobs j WHERE ${ON} AND j.queued_at IS NOT NULL)`,
    async take(tx: Sql, except) {
      const [due] = await tx.rows<DueJob>(DUE, [except]);
      const [job] =
        due === undefined ? await tx.rows<DueJob>(UNBLOCKED, [except, RUN_LOCK, STARTABLE]) : [due];
      if (job === undefined) return null;
      const activeOperationId = await holderOf(tx, { type: RUN_LOCK, id: job.id });
      return { ...job, obstacle: obstacleOf(job, activeOperationId) };
    },
    start: async (tx, principal, job) => {
      await acceptRun(tx, ledger, principal, job, "schedule");
    },
    write: async (tx, { id }, { nextAt, queuedAt, skipped }) => {
      await tx.run(WRITE, [id, nextAt, queuedAt, skipped]);
    },
  };
}

function obstacleOf({ state }: DueJob, activeOperationId: string | null): DueSchedule["obstacle"] {
  const free = activeOperationId === null && next(state, "run-accepted") !== null;
  return free ? null : { state, activeOperationId };
}
