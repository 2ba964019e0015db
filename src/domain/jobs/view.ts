import type { Connection as ConnectionRow } from "../../platform/generated/client.js";
import type { Connection } from "../connections/connections.js";
import type { JobGraph } from "./graph.js";
import type { JobState, RunState } from "./state.js";

/** What is read with a job: its current version, its connections and its last run. */
export const VIEW = {
  versions: { orderBy: { version: "desc" }, take: 1 },
  connections: { include: { connection: true } },
  runs: { orderBy: { number: "desc" }, take: 1 },
} as const;

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

/** A job's row with what VIEW reads. */
export interface JobRow {
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
  readonly tags: unknown;
  readonly createdBy: string;
  readonly updatedBy: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly versions: readonly { readonly graph: unknown; readonly presentation: unknown }[];
  readonly connections: readonly { readonly role: string; readonly connection: ConnectionRow }[];
  readonly runs: readonly {
    readonly id: string;
    readonly state: string;
    readonly operationId: string;
    readonly createdAt: Date;
    readonly startedAt: Date | null;
  }[];
}

export function toJobView(row: JobRow, present: (connection: ConnectionRow) => Connection): JobView {
  const { versions, connections, runs, ...job } = row;
  const [version] = versions;
  const [run] = runs;
  const end = (role: string): Connection | null => {
    const use = connections.find((connection) => connection.role === role);
    return use === undefined ? null : present(use.connection);
  };
  const lastRun = run === undefined ? null : { ...run, state: run.state as RunState };
  const active = lastRun !== null && (lastRun.state === "PENDING" || lastRun.state === "RUNNING");
  return {
    ...job,
    state: job.state as JobState,
    tags: job.tags as Readonly<Record<string, string>>,
    graph: (version?.graph ?? { vertices: [], edges: [] }) as JobGraph,
    presentation: (version?.presentation ?? {}) as Readonly<Record<string, unknown>>,
    source: end("source"),
    destination: end("destination"),
    lastRun,
    currentOperationId: active ? lastRun.operationId : null,
  };
}
