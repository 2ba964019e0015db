import { type Static, Type } from "typebox";
import type { JobView } from "../../domain/jobs/view.js";
import type { LogLine } from "../../domain/runs/logs.js";
import type { RunView, StepView } from "../../domain/runs/runs.js";
import { OVERLAPS } from "../../domain/schedules/engine.js";
import type { Operation } from "../../operations/operation.js";
import { viewOperation } from "../../operations/view.js";
import { NullableTimestamp, Timestamp, Uuid } from "../schemas/common.js";

const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const OPERATION_EXAMPLE = {
  id: "0199b3c4-6f2e-7c55-9d4b-2f6f1c1f7a10",
  operationType: "sync",
  status: "running",
  done: false,
  resource: {
    type: "run",
    id: "0199b3c4-6f2f-7a01-8c3d-4e5f60718293",
    href: "/api/v1/job-runs/0199b3c4-6f2f-7a01-8c3d-4e5f60718293",
  },
  projectId: "0199b3c0-0a1b-7c2d-8e3f-405162738495",
  progress: {
    percent: 49,
    message: "2500 rows copied",
    secondsLeft: 4,
    rows: 2500,
    bytes: 267_310,
    streams: { customers: { rows: 2500, bytes: 267_310 } },
  },
  steps: [
    {
      name: "copy",
      status: "running",
      startedAt: "2026-11-22T10:15:30.120Z",
      finishedAt: null,
      message: null,
    },
  ],
  result: null,
  error: null,
  createdAt: "2026-11-22T10:15:30.000Z",
  startedAt: "2026-11-22T10:15:30.080Z",
  finishedAt: null,
  createdBy: { kind: "client", id: "0199b3c0-0a1b-7c2d-8e3f-405162738496", name: "administrator" },
  nextOperationId: null,
};

export const OperationWire = Type.Object(
  {
    id: Uuid,
    operationType: Type.String({ examples: ["sync"] }),
    status: Type.Enum(["pending", "running", "cancelling", "succeeded", "failed", "cancelled"]),
    done: Type.Boolean({ description: "True when the status will not change any more." }),
    resource: Type.Object({
      type: Type.String({ examples: ["run"] }),
      id: Uuid,
      href: nullable(Type.String()),
    }),
    projectId: nullable(Uuid),
    progress: Type.Object(
      {
        percent: Type.Number(),
        message: Type.String(),
        secondsLeft: nullable(
          Type.Integer({
            description:
              "An estimate by the rows or bytes done so far of a total that is known; null: nothing is known to go by.",
          }),
        ),
      },
      {
        additionalProperties: true,
        description: "Rows, bytes and per-stream counts stand beside, where they are known.",
      },
    ),
    steps: Type.Array(
      Type.Object({
        name: Type.String(),
        status: Type.Enum(["running", "succeeded", "failed", "cancelled"]),
        startedAt: Timestamp,
        finishedAt: NullableTimestamp,
        message: nullable(Type.String()),
      }),
    ),
    result: Type.Unknown({
      description: "What came of it; null until it has succeeded, and in lists where it is large.",
    }),
    error: nullable(
      Type.Object(
        { type: Type.String(), title: Type.String(), status: Type.Integer(), detail: Type.String() },
        {
          additionalProperties: true,
          description: "Why it failed, and where: vertex, stream, column, line ...",
        },
      ),
    ),
    createdAt: Timestamp,
    startedAt: NullableTimestamp,
    finishedAt: NullableTimestamp,
    createdBy: Type.Object({ kind: Type.String(), id: Type.String(), name: Type.String() }),
    nextOperationId: nullable(Uuid),
  },
  { $id: "Operation", examples: [OPERATION_EXAMPLE] },
);
export type OperationWire = Static<typeof OperationWire>;

export function operationHref(id: string): string {
  return `/api/v1/operations/${id}`;
}

export function toOperationWire(operation: Operation): OperationWire {
  const view = viewOperation(operation, Date.now());
  return { ...view, steps: [...view.steps] };
}

const JOB_EXAMPLE = {
  id: "0199b3c4-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
  number: 1,
  name: "customers to warehouse",
  version: 0,
  organizationId: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
  projectId: "0199b3c0-0a1b-7c2d-8e3f-405162738495",
  execution: "ASYNCHRONOUS",
  processing: "BATCH",
  state: "FINISHED",
  desiredState: "RUNNING",
  jobGraph: {
    vertices: [
      {
        name: "source",
        type: "source",
        sourceId: "0199b3c3-7d8e-7f90-a1b2-c3d4e5f60718",
        streams: [{ name: "customers", syncMode: "full_refresh" }],
      },
      {
        name: "destination",
        type: "destination",
        destinationId: "0199b3c3-9a0b-7c1d-8e2f-30415263748a",
      },
    ],
    edges: [{ from: "source", to: "destination" }],
  },
  schedule: "0 3 * * *",
  timeZone: "Europe/Berlin",
  overlap: "skip",
  scheduleActive: true,
  nextRunAt: "2026-11-23T02:00:00.000Z",
  queuedAt: null,
  lastSkippedAt: null,
  tags: { createdUsing: "API", createdByUser: "administrator" },
  currentOperationId: null,
  createdAt: "2026-11-22T10:15:00.000Z",
  updatedAt: "2026-11-22T10:15:00.000Z",
};

export const Overlap = Type.Enum([...OVERLAPS], {
  description:
    "What happens to a tick while a run is active: `skip` lets it pass, `queue` lets one run wait for the end.",
});

export const JobWire = Type.Object(
  {
    id: Uuid,
    number: Type.Integer({ description: "What the project API calls the id." }),
    name: Type.String(),
    version: Type.Integer({ description: "0 at creation, one more with every change." }),
    organizationId: Uuid,
    projectId: Uuid,
    execution: Type.Enum(["SYNCHRONOUS", "ASYNCHRONOUS"]),
    processing: Type.Enum(["BATCH", "STREAMING"]),
    state: Type.Enum([
      "PENDING",
      "RUNNING",
      "PAUSING",
      "PAUSED",
      "RESUMING",
      "RESTARTING",
      "STOPPING",
      "STOPPED",
      "FINISHED",
      "FAILED",
    ]),
    desiredState: Type.Enum(["RUNNING", "PAUSED", "STOPPED"]),
    jobGraph: Type.Object({
      vertices: Type.Array(
        Type.Object({ name: Type.String(), type: Type.String() }, { additionalProperties: true }),
      ),
      edges: Type.Array(Type.Object({ from: Type.String(), to: Type.String() })),
    }),
    schedule: nullable(Type.String({ description: "Cron expression; null: none." })),
    timeZone: Type.String({ description: "IANA name of the time zone in which the expression is read." }),
    overlap: Overlap,
    scheduleActive: Type.Boolean({ description: "Whether the schedule is on." }),
    nextRunAt: nullable(Type.String({ ...Timestamp, description: "When the schedule starts the next run." })),
    queuedAt: nullable(
      Type.String({ ...Timestamp, description: "Since when a tick waits for a run to end." }),
    ),
    lastSkippedAt: nullable(
      Type.String({
        ...Timestamp,
        description: "When a tick last passed without a run; the audit log says why.",
      }),
    ),
    tags: Type.Record(Type.String(), Type.String()),
    currentOperationId: nullable(Uuid),
    createdAt: Timestamp,
    updatedAt: Timestamp,
  },
  { $id: "Job", examples: [JOB_EXAMPLE] },
);
export type JobWire = Static<typeof JobWire>;

export function toJobWire(job: JobView): JobWire {
  return {
    id: job.id,
    number: job.number,
    name: job.name,
    version: job.version,
    organizationId: job.organizationId,
    projectId: job.projectId,
    execution: job.execution as JobWire["execution"],
    processing: job.processing as JobWire["processing"],
    state: job.state,
    desiredState: job.desiredState as JobWire["desiredState"],
    jobGraph: { vertices: job.graph.vertices.map((vertex) => ({ ...vertex })), edges: [...job.graph.edges] },
    schedule: job.schedule,
    timeZone: job.timeZone,
    overlap: job.overlap,
    scheduleActive: job.active,
    nextRunAt: job.active ? (job.nextRunAt?.toISOString() ?? null) : null,
    queuedAt: job.queuedAt?.toISOString() ?? null,
    lastSkippedAt: job.lastSkippedAt?.toISOString() ?? null,
    tags: { ...job.tags },
    currentOperationId: job.currentOperationId,
    createdAt: job.createdAt.toISOString(),
    updatedAt: job.updatedAt.toISOString(),
  };
}

const ErrorWire = Type.Unknown({ description: "Null, or why it failed." });

export const StepWire = Type.Object(
  {
    name: Type.String(),
    type: Type.String(),
    state: Type.Enum(["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]),
    dependsOn: Type.Array(Type.String()),
    rows: Type.Integer(),
    bytes: Type.Integer(),
    exitCode: nullable(Type.Integer()),
    error: ErrorWire,
    startedAt: NullableTimestamp,
    endedAt: NullableTimestamp,
  },
  { $id: "Step" },
);
export type StepWire = Static<typeof StepWire>;

export function toStepWire(step: StepView): StepWire {
  return {
    name: step.name,
    type: step.type,
    state: step.state,
    dependsOn: [...step.dependsOn],
    rows: Number(step.rows),
    bytes: Number(step.bytes),
    exitCode: step.exitCode,
    error: step.error,
    startedAt: step.startedAt?.toISOString() ?? null,
    endedAt: step.endedAt?.toISOString() ?? null,
  };
}

export const RunWire = Type.Object(
  {
    id: Uuid,
    jobId: Uuid,
    jobVersion: Type.Integer(),
    number: Type.Integer({ description: "1, 2, 3 ... within the job." }),
    state: Type.Enum(["PENDING", "RUNNING", "FINISHED", "FAILED", "CANCELLED"]),
    trigger: Type.String(),
    operationId: Uuid,
    rows: Type.Integer(),
    bytes: Type.Integer(),
    error: ErrorWire,
    createdAt: Timestamp,
    startedAt: NullableTimestamp,
    endedAt: NullableTimestamp,
  },
  { $id: "Run" },
);
export type RunWire = Static<typeof RunWire>;

export function toRunWire(run: RunView): RunWire {
  return {
    id: run.id,
    jobId: run.jobId,
    jobVersion: run.jobVersion,
    number: run.number,
    state: run.state,
    trigger: run.trigger,
    operationId: run.operationId,
    rows: Number(run.rows),
    bytes: Number(run.bytes),
    error: run.error,
    createdAt: run.createdAt.toISOString(),
    startedAt: run.startedAt?.toISOString() ?? null,
    endedAt: run.endedAt?.toISOString() ?? null,
  };
}

export const LogLineWire = Type.Object(
  { step: Type.String(), level: Type.String(), time: Timestamp, message: Type.String() },
  { $id: "LogLine" },
);
export type LogLineWire = Static<typeof LogLineWire>;

export function toLogLineWire(line: LogLine): LogLineWire {
  return { step: line.step, level: line.level, time: line.time.toISOString(), message: line.message };
}
