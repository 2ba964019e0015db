import { type Static, Type } from "typebox";
import type { Config } from "../../domain/connections/config.js";
import type { Connection, ConnectionInput } from "../../domain/connections/connections.js";
import type { RunState } from "../../domain/jobs/state.js";
import type { JobView } from "../../domain/jobs/view.js";
import type { RunView } from "../../domain/runs/runs.js";
import { invalid } from "../../platform/errors.js";
import type { AcceptedAnswer } from "../accepted.js";
import { faultOfValue } from "../json.js";
import { failures, GUARDED } from "../schemas/common.js";
import { projectDialect } from "./dialect.js";

/** Errors in the text's envelope. */
export const Failure = Type.Object(
  {
    success: Type.Literal(false),
    message: Type.String(),
    data: Type.Null(),
    error: Type.Object(
      { code: Type.String(), detail: Type.String(), requestId: Type.String() },
      { additionalProperties: true },
    ),
  },
  { $id: "ProjectFailure" },
);

export function projectFailures(...more: (409 | 429)[]) {
  return failures({ $ref: "ProjectFailure#" }, projectDialect, [...GUARDED, ...more]);
}

/**
 * The envelope around every answer. To the types it is the data alone: handlers return data, and a hook of the
 * dialect puts the envelope around it, once.
 */
export function envelope<T extends Parameters<typeof Type.Union>[0][number]>(
  data: T,
  details: { readonly description?: string; readonly headers?: object } = {},
): T {
  return Type.Object({ success: Type.Boolean(), message: Type.String(), data }, details) as unknown as T;
}

/** An answer that only points to what was accepted, for the document. */
export const STARTED = {
  description:
    "Accepted: poll the operation that `Operation-Location` names. `data` is null, as in the text.",
  headers: {
    Location: { type: "string", description: "The operation: `/api/v1/operations/{id}`." },
    "Operation-Location": { type: "string", description: "The same." },
    "Retry-After": { type: "string", description: "Seconds until a look at it is worth while." },
  },
};

/** What is answered where work was accepted: nothing but the envelope, as in the text. */
export const startedAnswer = (): AcceptedAnswer => ({
  status: 200,
  body: { success: true, message: "success", data: null },
});

/** A list that is paged where the client asks for it. */
export function listEnvelope<T extends Parameters<typeof Type.Union>[0][number]>(data: T): T {
  return envelope(data, {
    headers: {
      Link: { type: "string", description: 'Where there is more: the next page, `rel="next"` (RFC 8288).' },
    },
  });
}

const OBJECT = Type.Object({}, { additionalProperties: true });

/** A configuration: an object, or the same as JSON text. */
export const ConfigBody = Type.Union([Type.String({ maxLength: 500_000 }), OBJECT], {
  description: "An object, or the same as JSON text; answered in the form that was sent.",
});

/** The same in answers, where masked text may be a little longer. */
export const ConfigWire = Type.Union([Type.String(), OBJECT], {
  description: "In the form that was sent: an object or JSON text.",
});
export type ConfigWire = Static<typeof ConfigWire>;

export const Name = Type.String({ minLength: 1, maxLength: 200, pattern: "\\S" });
const TypeName = Type.String({ minLength: 1, maxLength: 100 });
const Version = Type.String({ minLength: 1, maxLength: 50 });

export const ConnectionBody = Type.Object({
  name: Name,
  type: TypeName,
  version: Version,
  config: ConfigBody,
});
export type ConnectionBody = Static<typeof ConnectionBody>;

export const TargetBody = Type.Object({ type: TypeName, version: Version, config: ConfigBody });

/** What connections of each role are configured with, for the document. */
export const TARGET_EXAMPLES = {
  source: { type: "file", version: "1.0.0", config: { path: "examples/customers.csv" } },
  destination: {
    type: "postgres",
    version: "1.0.0",
    config: {
      host: "db.example.com",
      port: 5432,
      database: "warehouse",
      username: "loader",
      password: "correct horse battery staple",
    },
  },
} as const;

export const CONNECTION_EXAMPLES = {
  source: { name: "customers file", ...TARGET_EXAMPLES.source },
  destination: { name: "warehouse", ...TARGET_EXAMPLES.destination },
} as const;

/** A body with an example in the document; to types and validation it is the same. */
export function withExample<T extends { readonly properties: object }>(schema: T, example: object): T {
  return { ...schema, examples: [example] };
}

/** An object from an object or from JSON text; `path` names it in the error. */
export function parseJsonField(value: unknown, path: string): { value: Config; form: "object" | "text" } {
  if (typeof value !== "string") return { value: value as Config, form: "object" };
  const parsed = parseObject(value);
  if (parsed === null) {
    throw invalid(`${path.slice(1)} must be a JSON object`, [
      { path, message: "must be an object or the text of a JSON object" },
    ]);
  }
  // What stands in the text was hidden from the check of the body.
  const fault = faultOfValue(parsed, path);
  if (fault !== null) throw invalid(`${fault.path} ${fault.message}`, [fault]);
  return { value: parsed, form: "text" };
}

function parseObject(text: string): Config | null {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)
      ? (parsed as Config)
      : null;
  } catch {
    return null;
  }
}

export function toConnectionInput(body: ConnectionBody, path = ""): ConnectionInput {
  const { value: config, form } = parseJsonField(body.config, `${path}/config`);
  return { name: body.name, type: body.type, version: body.version, config, configForm: form };
}

/** A value in the form that it was sent. */
export function inForm(value: unknown, form: unknown): unknown {
  return form === "text" ? JSON.stringify(value) : value;
}

export const ConnectionWire = Type.Object({
  id: Type.Integer(),
  name: Type.String(),
  type: Type.String(),
  version: Type.String(),
  config: ConfigWire,
  created_at: Type.String({ format: "date-time" }),
  updated_at: Type.String({ format: "date-time" }),
  created_by: Type.String(),
  updated_by: Type.String(),
});

export function toConnectionWire(connection: Connection) {
  return {
    id: connection.number,
    name: connection.name,
    type: connection.type,
    version: connection.version,
    config: inForm(connection.config, connection.configForm) as ConfigWire,
    created_at: connection.createdAt.toISOString(),
    updated_at: connection.updatedAt.toISOString(),
    created_by: connection.createdBy,
    updated_by: connection.updatedBy,
  };
}

/** How a run's state is called here. */
const TASK_STATUS: Readonly<Record<RunState, string>> = {
  PENDING: "running",
  RUNNING: "running",
  FINISHED: "completed",
  FAILED: "failed",
  CANCELLED: "cancelled",
};

const LastRun = {
  last_run_time: Type.Union([Type.String({ format: "date-time" }), Type.Null()]),
  last_run_state: Type.Union([Type.String(), Type.Null()]),
};

function lastRun({ lastRun: run }: JobView) {
  return {
    last_run_time: run === null ? null : (run.startedAt ?? run.createdAt).toISOString(),
    last_run_state: run === null ? null : TASK_STATUS[run.state],
  };
}

/** A job as a source's or destination's list item shows it, with the other end's name. */
export function jobOfConnection(other: "source_name" | "dest_name") {
  return Type.Object({
    id: Type.Integer(),
    name: Type.String(),
    activate: Type.Boolean(),
    ...LastRun,
    [other]: Type.Union([Type.String(), Type.Null()]),
  });
}

export function toJobOfConnection(job: JobView, other: "source_name" | "dest_name") {
  const end = other === "source_name" ? job.source : job.destination;
  return {
    id: job.number,
    name: job.name,
    activate: job.active,
    ...lastRun(job),
    [other]: end?.name ?? null,
  };
}

const Inline = Type.Object({
  name: Type.String(),
  type: Type.String(),
  version: Type.String(),
  config: ConfigWire,
});
const NullableInline = Type.Union([Inline, Type.Null()]);

export const JobWire = Type.Object(
  {
    id: Type.Integer(),
    name: Type.String(),
    source: NullableInline,
    destination: NullableInline,
    streams_config: ConfigWire,
    frequency: Type.String(),
    activate: Type.Boolean(),
    ...LastRun,
    created_at: Type.String({ format: "date-time" }),
    updated_at: Type.String({ format: "date-time" }),
    created_by: Type.String(),
    updated_by: Type.String(),
  },
  { $id: "ProjectJob" },
);

/** What the project API keeps of a job to answer as it was asked. */
export interface JobPresentation {
  readonly streamsConfig: ConfigWire;
}

function inline(connection: Connection | null) {
  if (connection === null) return null;
  const { name, type, version, configForm, config } = connection;
  return { name, type, version, config: inForm(config, configForm) as ConfigWire };
}

export function toJobWire(job: JobView): Static<typeof JobWire> {
  const kept = job.presentation["project"] as JobPresentation | undefined;
  return {
    id: job.number,
    name: job.name,
    source: inline(job.source),
    destination: inline(job.destination),
    streams_config: kept?.streamsConfig ?? {},
    frequency: job.schedule ?? "",
    activate: job.active,
    ...lastRun(job),
    created_at: job.createdAt.toISOString(),
    updated_at: job.updatedAt.toISOString(),
    created_by: job.createdBy,
    updated_by: job.updatedBy,
  };
}

export const TaskWire = Type.Object(
  {
    id: Type.String(),
    start_time: Type.String({ format: "date-time" }),
    runtime: Type.Integer({ description: "Seconds." }),
    status: Type.Enum(["running", "completed", "failed", "cancelled"]),
    job_type: Type.Enum(["sync", "clear-destination"]),
    file_path: Type.String({ description: "Where the task's logs are." }),
  },
  { $id: "Task" },
);

export function toTaskWire(run: RunView, now: Date): Static<typeof TaskWire> {
  const start = run.startedAt ?? run.createdAt;
  const runtime = Math.floor(((run.endedAt ?? now).getTime() - start.getTime()) / 1_000);
  return {
    id: run.id,
    start_time: start.toISOString(),
    runtime: Math.max(0, runtime),
    status: TASK_STATUS[run.state] as Static<typeof TaskWire>["status"],
    job_type: "sync",
    file_path: `/api/v1/job-runs/${run.id}`,
  };
}
