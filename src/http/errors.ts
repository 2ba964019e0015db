import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { AppError, databaseAway, type FieldError, notFound } from "../platform/errors.js";
import { isDatabaseAway } from "../platform/sql.js";
import { type Dialect, dialectOf, routedPath, sentPath } from "./dialect.js";
import { codeOf, STATUS } from "./status.js";
import { pathOfPart } from "./validation.js";

export interface ErrorsOptions {
  /** In order: the first that owns a path shapes its errors, the last one everything else. */
  readonly dialects: readonly Dialect[];
}

/** Gives every failure the shape of its dialect: thrown errors, bad bodies and unknown paths alike. */
export const errorsPlugin = fp(
  async (app: FastifyInstance, { dialects }: ErrorsOptions) => {
    app.setErrorHandler((error: FastifyError, request, reply) =>
      sendFailure(dialects, error, request, reply),
    );
    app.setNotFoundHandler((request, reply) => sendFailure(dialects, notFound("this path"), request, reply));
  },
  { name: "errors" },
);

/** Answers a failure in the shape of the dialect that owns the path. What went wrong inside is only logged. */
export function sendFailure(
  dialects: readonly Dialect[],
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const error = toAppError(thrown);
  const status = STATUS[error.code];
  if (status === 500) request.log.error({ err: thrown }, "request failed");
  else if (error.cause !== undefined) request.log.info({ err: error.cause }, error.message);
  const scope = error.details["scope"];
  if (error.code === "insufficient_scope" && scope !== undefined && !reply.hasHeader("www-authenticate")) {
    reply.header("www-authenticate", `Bearer error="insufficient_scope", scope="${scope}"`);
  }
  const retryAfter = error.details["retryAfter"] ?? (status === 503 ? 1 : undefined);
  if (retryAfter !== undefined) reply.header("retry-after", String(retryAfter));
  const dialect = dialectOf(dialects, routedPath(request));
  return reply
    .code(status)
    .type(dialect.errorType)
    .serializer(JSON.stringify)
    .send(dialect.fail({ error, status, requestId: request.id, path: sentPath(request) }));
}

interface FrameworkError {
  readonly code?: string;
  readonly statusCode?: number;
  readonly message: string;
  readonly validation?: readonly ValidationFault[];
  readonly validationContext?: string;
}

interface ValidationFault {
  readonly instancePath: string;
  readonly keyword: string;
  readonly message?: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/** What to do about failures that the framework only names. */
const ADVICE: Readonly<Record<number, string>> = {
  413: "the body is larger than 1 MiB: send less at once",
  415: "the content type is not supported: send application/json",
};

function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  if (isDatabaseAway(thrown)) return databaseAway(thrown);
  const error = thrown as FrameworkError;
  if (error.validation !== undefined)
    return invalidInput(error.validation, error.validationContext ?? "body");
  const status = error.statusCode ?? 500;
  if (status >= 400 && status < 500) return new AppError(codeOf(status), ADVICE[status] ?? error.message);
  return new AppError("internal", "Internal server error");
}

function invalidInput(faults: readonly ValidationFault[], context: string): AppError {
  const errors = faults.slice(0, 50).map((fault) => toFieldError(fault, context));
  const summary = errors.map(({ path, message }) => `${path} ${message}`).join("; ");
  const part = context === "querystring" ? "query" : context;
  return new AppError("invalid_request", `${part}: ${summary}`, { errors });
}

function toFieldError(
  { instancePath, keyword, message, params }: ValidationFault,
  context: string,
): FieldError {
  const base = `${pathOfPart(context)}${instancePath}`;
  if (keyword === "required") return { path: `${base}/${params["missingProperty"]}`, message: "is required" };
  if (keyword === "additionalProperties") {
    return { path: `${base}/${params["additionalProperty"]}`, message: "is not a field of this request" };
  }
  const allowed = keyword === "enum" ? `: ${JSON.stringify(params["allowedValues"])}` : "";
  return { path: base === "" ? "/" : base, message: `${message ?? "is wrong"}${allowed}` };
}
