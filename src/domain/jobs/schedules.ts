import type { Principal } from "../../auth/principal.js";
import type { Dispatcher } from "../../operations/dispatcher.js";
import type { Ledger } from "../../operations/ledger.js";
import type { Database, Sql } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import { nextRun } from "./schedule.js";
import { type JobState, next } from "./state.js";
import { acceptRun, type JobToRun, RUN_LOCK } from "./sync.js";

interface DueJob extends JobToRun {
  readonly schedule: string;
  readonly timeZone: string;
  /** PostgreSQL's: the processes' clocks may differ. */
  readonly now: Date;
  /** The operation of a run that is still active. */
  readonly activeOperationId: string | null;
}

const DUE = {
  name: "jobs_due",
  text: `SELECT j.id, j.organization_id AS "organizationId", j.project_id AS "projectId", j.state, j.version, v.graph,
           j.schedule, j.time_zone AS "timeZone", clock_timestamp() AS now,
           (SELECT l.operation_id FROM operation_locks l
             WHERE l.resource_type = $1 AND l.resource_id = j.id) AS "activeOperationId"
         FROM jobs j JOIN job_versions v ON v.job_id = j.id AND v.version = j.version
         WHERE j.next_run_at <= clock_timestamp() AND j.active AND j.schedule IS NOT NULL AND j.deleted_at IS NULL
         ORDER BY j.next_run_at LIMIT 1 FOR UPDATE OF j SKIP LOCKED`,
};

/**
 * Starts the runs that schedules ask for. They live in PostgreSQL: any number of workers may look, and each tick
 * is taken by one. Ticks that nobody was there for are made up for by one run.
 */
export class Schedules {
  readonly #db: Database;
  readonly #ledger: Ledger;
  readonly #dispatcher: Dispatcher;

  constructor(db: Database, ledger: Ledger, dispatcher: Dispatcher) {
    this.#db = db;
    this.#ledger = ledger;
    this.#dispatcher = dispatcher;
  }

  /** Takes every tick that is due; says how many. */
  async runDue(): Promise<number> {
    let taken = 0;
    while (await this.#db.transaction((tx) => this.#takeOne(tx))) taken += 1;
    if (taken > 0) void this.#dispatcher.dispatch();
    return taken;
  }

  async #takeOne(tx: Sql): Promise<boolean> {
    const [job] = await tx.rows<DueJob>(DUE, [RUN_LOCK]);
    if (job === undefined) return false;
    await tx.run("UPDATE jobs SET next_run_at = $2 WHERE id = $1", [
      job.id,
      nextRun(job.schedule, job.timeZone, job.now),
    ]);
    if (canRun(job)) await acceptRun(tx, this.#ledger, scheduler(job), job, "schedule");
    else await recordSkip(tx, job);
    return true;
  }
}

/** Never two at once: a run that is still active, or a state that forbids one, lets the tick pass. */
function canRun(job: DueJob): boolean {
  return job.activeOperationId === null && next(job.state as JobState, "run-accepted") !== null;
}

async function recordSkip(tx: Sql, job: DueJob): Promise<void> {
  const target = { type: "job", id: job.id };
  const details = { state: job.state, activeOperationId: job.activeOperationId };
  const entry = {
    action: "schedule.skipped",
    target,
    projectId: job.projectId,
    outcome: "failure",
    details,
  } as const;
  await auditSql(tx, scheduler(job), entry);
}

function scheduler({ organizationId }: DueJob): Principal {
  return {
    kind: "system",
    id: "scheduler",
    name: "scheduler",
    organizationId,
    projects: "all",
    scopes: new Set(),
    origin: { address: null, requestId: null },
  };
}
