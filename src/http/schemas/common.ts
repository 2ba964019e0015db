import { type Static, type TSchema, Type } from "typebox";
import { AppError, type AppErrorOptions } from "../../platform/errors.js";
import { coreDialect } from "../core-api/dialect.js";
import type { Dialect } from "../dialect.js";
import { codeOf } from "../status.js";

export const Uuid = Type.String({ description: "UUID, with or without dashes." });
export const Timestamp = Type.String({ format: "date-time", description: "ISO 8601, UTC." });
export const NullableTimestamp = Type.Union([Timestamp, Type.Null()]);

/** RFC 9457. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    instance: Type.String(),
    code: Type.String({ description: "Stable; for programs." }),
    requestId: Type.String(),
    errors: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
  },
  { $id: "Problem", additionalProperties: true },
);
export type Problem = Static<typeof Problem>;

const MEANING: Readonly<Record<number, string>> = {
  400: "The request is malformed or fails validation; `errors` names each fault.",
  401: "No credentials, or they are not valid.",
  403: "The token lacks a scope that this route needs.",
  404: "It does not exist, or the caller may not know that it does.",
  409: "It conflicts with the present state; the answer names what is in the way.",
  413: "The body is larger than 1 MiB.",
  429: "Too many requests; `Retry-After` says when to come back.",
  503: "A part is away for a moment; `Retry-After` says when to come back.",
};

type Status = keyof typeof MEANING;

/** What such a failure may say, for the document. */
const SAMPLES: Readonly<Record<number, readonly [message: string, options?: AppErrorOptions]>> = {
  400: ["body: /name is required", { errors: [{ path: "/name", message: "is required" }] }],
  401: ["the access token expired"],
  403: ["the scope job:write is required", { details: { scope: "job:write" } }],
  404: ["job not found"],
  409: [
    "operation 0199b3c4-6f2e-7c55-9d4b-2f6f1c1f7a10 (sync) is still running on this resource",
    { details: { operationId: "0199b3c4-6f2e-7c55-9d4b-2f6f1c1f7a10" } },
  ],
  413: ["Request body is too large"],
  429: ["too many requests: try again in 2 s", { details: { retryAfter: 2 } }],
  503: ["the database is away for a moment: try again"],
};

/** A failure as the dialect would answer it. */
function sample(dialect: Dialect, status: Status): object {
  const [message, options] = SAMPLES[status] ?? ["it failed"];
  const code = status === 403 ? "insufficient_scope" : codeOf(status);
  const error = new AppError(code, message, options);
  const requestId = "0199b3c4-8d10-7b3e-8f3a-5a3c0f6f2b11";
  return dialect.fail({
    error,
    status,
    requestId,
    path: "/api/v1/jobs/0199b3c4-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
  });
}

/** Error answers of a route, in the shape of its dialect. */
export function failures(schema: object, dialect: Dialect, statuses: readonly Status[]) {
  const contentType = dialect.errorType.split(";", 1)[0] ?? dialect.errorType;
  return Object.fromEntries(
    [...statuses].map((status) => [
      status,
      {
        description: MEANING[status] ?? "Error",
        content: { [contentType]: { schema, example: sample(dialect, status) } },
      },
    ]),
  );
}

/** The statuses that any guarded route may answer. */
export const GUARDED = [400, 401, 403, 404, 413, 429, 503] as const;

/** Errors of the core API. */
export function problems(...more: readonly Status[]) {
  return failures({ $ref: "Problem#" }, coreDialect, [...GUARDED, ...more]);
}

/** A schema that is registered under its `$id`, as a reference: it stands once in the document. */
export function ref<T extends TSchema>(schema: T) {
  const { $id } = schema as { $id?: string };
  if ($id === undefined) throw new Error("only a schema with an $id can be referred to");
  return Type.Unsafe<Static<T>>({ $ref: `${$id}#` });
}
