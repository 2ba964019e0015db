import { type Principal, projectFilter } from "../../auth/principal.js";
import type { Ledger } from "../../operations/ledger.js";
import type { Operation } from "../../operations/operation.js";
import { conflict, notFound } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import { type Database, type Sql, toJsonb } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import { dependencies, type JobGraph } from "./graph.js";
import { type JobState, next } from "./state.js";

/** One active run per job. */
export const RUN_LOCK = "job:run";

/** The run, its number and its steps, with the job's state. */
const INSERT_RUN = {
  name: "run_insert",
  text: `WITH counted AS (UPDATE jobs SET state = $2, run_count = run_count + 1 WHERE id = $1 RETURNING run_count),
         made AS (
           INSERT INTO runs (id, organization_id, project_id, job_id, job_version, number, trigger, operation_id)
           SELECT $3::uuid, $4::uuid, $5::uuid, $1, $6::int, run_count, $7, $8::uuid FROM counted RETURNING id)
         INSERT INTO steps (run_id, name, type, position, depends_on)
         SELECT made.id, name, type, position, ARRAY(SELECT jsonb_array_elements_text(inputs))
         FROM made, jsonb_to_recordset($9::jsonb) AS step (name text, type text, position int, inputs jsonb)`,
};

const LOCK_JOB = {
  name: "job_lock",
  text: `SELECT id, organization_id AS "organizationId", project_id AS "projectId", state, version FROM jobs
         WHERE id = $1 AND organization_id = $2 AND ($3::uuid[] IS NULL OR project_id = ANY ($3))
           AND deleted_at IS NULL FOR UPDATE`,
};
const GRAPH = {
  name: "job_graph",
  text: "SELECT graph FROM job_versions WHERE job_id = $1 AND version = $2",
};

/** A job, as far as starting a run needs it. */
export interface JobToRun {
  readonly id: string;
  readonly organizationId: string;
  readonly projectId: string;
  readonly state: JobState;
  readonly version: number;
  readonly graph: JobGraph;
}

/** What started a run. */
export type Trigger = "api" | "schedule" | "retry";

/** Writes something in the transaction that accepts an operation: it stands there with it or not at all. */
export type OnAccept = (tx: Sql, operation: Operation) => Promise<void>;

/** Starts runs. */
export class Syncs {
  readonly #db: Database;
  readonly #ledger: Ledger;

  constructor(db: Database, ledger: Ledger) {
    this.#db = db;
    this.#ledger = ledger;
  }

  /**
   * Accepts a run of a BATCH job: the run, its steps, the job's state and the operation appear together or not
   * at all. Throws a conflict that names the operation of a run that is active.
   */
  async start(principal: Principal, jobId: string, onAccept?: OnAccept): Promise<Operation> {
    return this.#db.transaction(async (tx) => {
      const job = await lockJob(tx, principal, jobId);
      const operation = await acceptRun(tx, this.#ledger, principal, job, "api");
      await onAccept?.(tx, operation);
      return operation;
    });
  }
}

/** Accepts a run of a job whose row the transaction holds. */
export async function acceptRun(
  tx: Sql,
  ledger: Ledger,
  principal: Principal,
  job: JobToRun,
  trigger: Trigger,
): Promise<Operation> {
  const runId = newId();
  const operation = await ledger.request(tx, {
    organizationId: job.organizationId,
    projectId: job.projectId,
    operationType: "sync",
    resource: { type: "run", id: runId },
    locks: [{ type: RUN_LOCK, id: job.id }],
    payload: { jobId: job.id, runId },
    scheduled: trigger === "schedule",
    createdBy: { kind: principal.kind, id: principal.id, name: principal.name },
    origin: principal.origin,
  });
  await insertRun(tx, job, runId, operation.id, trigger);
  const target = { type: "job", id: job.id };
  const details = { operationId: operation.id, trigger };
  await auditSql(tx, principal, { action: "job.sync", target, projectId: job.projectId, details });
  return operation;
}

async function insertRun(
  tx: Sql,
  job: JobToRun,
  runId: string,
  operationId: string,
  trigger: Trigger,
): Promise<void> {
  const state = next(job.state, "run-accepted");
  if (state === null) throw conflict(`the job is ${job.state}: a run cannot be started now`);
  const inputs = dependencies(job.graph);
  const steps = job.graph.vertices.map(({ name, type }, position) => ({
    ...{ name, type, position, inputs: inputs.get(name) ?? [] },
  }));
  await tx.run(INSERT_RUN, [
    ...[job.id, state, runId, job.organizationId, job.projectId, job.version, trigger, operationId],
    toJsonb(steps),
  ]);
}

/** A job that the principal reaches, held until the transaction ends. */
export async function lockJob(tx: Sql, principal: Principal, jobId: string): Promise<JobToRun> {
  const [job] = await tx.rows<Omit<JobToRun, "graph">>(LOCK_JOB, [
    ...[jobId, principal.organizationId, projectFilter(principal)],
  ]);
  if (job === undefined) throw notFound("job");
  // A statement of its own: a join would look for the version that the job had before the lock was waited for.
  const [version] = await tx.rows<{ graph: JobGraph }>(GRAPH, [job.id, job.version]);
  if (version === undefined) throw new Error(`job ${job.id} has no version ${job.version}`);
  return { ...job, graph: version.graph };
}
