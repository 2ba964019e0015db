import type { Connection as ConnectionRow } from "../../platform/generated/client.js";
import type { PrismaTransaction } from "../../platform/prisma.js";
import type { Connection } from "../connections/connections.js";
import type { Overlap } from "../schedules/engine.js";
import type { JobGraph } from "./graph.js";
import type { JobState, RunState } from "./state.js";

/** What is read with a job's row; `withCurrent` adds the rest. */
export const VIEW = { connections: { include: { connection: true } } } as const;

export interface LastRun {
  readonly id: string;
  readonly state: RunState;
  readonly operationId: string;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
}

/** A job as callers see it, at its current version. */
export interface JobView {
  readonly id: string;
  readonly number: number;
  readonly organizationId: string;
  readonly projectId: string;
  readonly name: string;
  readonly version: number;
  readonly execution: string;
  readonly processing: string;
  readonly state: JobState;
  readonly desiredState: string;
  readonly schedule: string | null;
  readonly timeZone: string;
  readonly active: boolean;
  /** What happens to a tick while a run is active. */
  readonly overlap: Overlap;
  /** When the schedule, where it is on, starts the next run. */
  readonly nextRunAt: Date | null;
  /** Since when a tick waits for the end of a run. */
  readonly queuedAt: Date | null;
  /** When a tick last passed without a run. */
  readonly lastSkippedAt: Date | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly graph: JobGraph;
  readonly presentation: Readonly<Record<string, unknown>>;
  readonly source: Connection | null;
  readonly destination: Connection | null;
  readonly lastRun: LastRun | null;
  /** The run's operation while it is active. */
  readonly currentOperationId: string | null;
  readonly createdBy: string;
  readonly updatedBy: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What a job does at its current version. */
interface CurrentVersion {
  readonly graph: unknown;
  readonly presentation: unknown;
}

/** A job's row with what VIEW reads. */
interface BareJobRow {
  readonly id: string;
  readonly number: number;
  readonly organizationId: string;
  readonly projectId: string;
  readonly name: string;
  readonly version: number;
  readonly execution: string;
  readonly processing: string;
  readonly state: string;
  readonly desiredState: string;
  readonly schedule: string | null;
  readonly timeZone: string;
  readonly active: boolean;
  readonly overlap: string;
  readonly nextRunAt: Date | null;
  readonly queuedAt: Date | null;
  readonly lastSkippedAt: Date | null;
  readonly tags: unknown;
  readonly createdBy: string;
  readonly updatedBy: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly runCount: number;
  readonly connections: readonly { readonly role: string; readonly connection: ConnectionRow }[];
}

/** A job's row with its current version and its last run. */
export interface JobRow extends BareJobRow {
  readonly current: CurrentVersion | null;
  readonly lastRun: LastRun | null;
}

/**
 * Reads the current version and the last run of each job: one row of each, however many there were. As relations of
 * the job Prisma reads all of them, of every job of a list, and drops what `take` does not want in this process.
 */
export async function withCurrent(tx: PrismaTransaction, jobs: readonly BareJobRow[]): Promise<JobRow[]> {
  if (jobs.length === 0) return [];
  const ids = jobs.map(({ id }) => id);
  const numbers = jobs.map(({ runCount }) => runCount);
  const versions = await tx.$queryRaw<(CurrentVersion & { jobId: string })[]>`
    SELECT v.job_id AS "jobId", v.graph, v.presentation
    FROM unnest(${ids}::uuid[], ${jobs.map(({ version }) => version)}::int[]) AS wanted (job_id, version)
    JOIN job_versions v USING (job_id, version)`;
  const runs = await tx.$queryRaw<(LastRun & { jobId: string })[]>`
    SELECT r.job_id AS "jobId", r.id, r.state, r.operation_id AS "operationId", r.created_at AS "createdAt",
      r.started_at AS "startedAt"
    FROM unnest(${ids}::uuid[], ${numbers}::int[]) AS wanted (job_id, number)
    JOIN runs r USING (job_id, number)`;
  const currents = new Map(versions.map(({ jobId, ...version }) => [jobId, version]));
  const lasts = new Map(runs.map(({ jobId, ...run }) => [jobId, run]));
  return jobs.map((job) => ({
    ...job,
    current: currents.get(job.id) ?? null,
    lastRun: lasts.get(job.id) ?? null,
  }));
}

export function toJobView(row: JobRow, present: (connection: ConnectionRow) => Connection): JobView {
  const { current, connections, lastRun, ...job } = row;
  const end = (role: string): Connection | null => {
    const use = connections.find((connection) => connection.role === role);
    return use === undefined ? null : present(use.connection);
  };
  const active = lastRun !== null && (lastRun.state === "PENDING" || lastRun.state === "RUNNING");
  return {
    ...job,
    state: job.state as JobState,
    overlap: job.overlap as Overlap,
    tags: job.tags as Readonly<Record<string, string>>,
    graph: (current?.graph ?? { vertices: [], edges: [] }) as JobGraph,
    presentation: (current?.presentation ?? {}) as Readonly<Record<string, unknown>>,
    source: end("source"),
    destination: end("destination"),
    lastRun,
    currentOperationId: active ? lastRun.operationId : null,
  };
}
