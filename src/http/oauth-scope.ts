import type { OutgoingHttpHeaders } from "node:http";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { OAuthError } from "../auth/oauth-error.js";
import type { Answer } from "../auth/token-endpoint.js";
import { type Endpoint, parseForm, parseJson, type TokenParameters } from "../auth/token-parameters.js";
import type { TokenAnswer } from "../auth/token-response.js";
import { AppError, databaseAway } from "../platform/errors.js";
import { isDatabaseAway } from "../platform/sql.js";
import { FORM, JSON_TYPE, type OAuthFailure } from "./oauth-schemas.js";
import type { Answered } from "./token-usage.js";

/** Far more than any of these requests needs. */
const BODY_LIMIT = 32 * 1024;

const CHALLENGE = 'Basic realm="gatehouse", charset="UTF-8"';

/** Failures of the domain that RFC 6749 has no status for. */
const STATUS: Readonly<Record<string, number>> = { rate_limited: 429, unavailable: 503 };

/**
 * Makes a scope one of OAuth endpoints: bodies, errors and validation are as RFC 6749 says; schemas only document.
 */
export function readAsOAuth(scope: FastifyInstance, endpoint: Endpoint): void {
  const options = { parseAs: "buffer", bodyLimit: BODY_LIMIT } as const;
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser(
    FORM,
    options,
    reading((body) => parseForm(body, endpoint)),
  );
  scope.addContentTypeParser(
    JSON_TYPE,
    options,
    reading((body) => parseJson(body, endpoint)),
  );
  const refuse = (): never => {
    throw new OAuthError("invalid_request", `the body must be ${FORM} or ${JSON_TYPE}`);
  };
  scope.addContentTypeParser("*", options, reading(refuse));
  scope.setValidatorCompiler(() => () => true);
  scope.setSerializerCompiler(() => JSON.stringify);
  scope.setErrorHandler(sendFailure);
}

/** With a callback: what is there already takes no turn of the event loop. */
function reading(parse: (body: Uint8Array) => TokenParameters) {
  return (
    _request: FastifyRequest,
    body: Buffer,
    done: (error: Error | null, value?: unknown) => void,
  ): void => {
    try {
      done(null, parse(body));
    } catch (error) {
      done(error as Error);
    }
  };
}

/** A request of an OAuth endpoint, its body read. */
export type OAuthRequest = FastifyRequest<{ Body: TokenParameters | undefined }>;

export interface OAuthRoute {
  readonly path: string;
  readonly schema: object;
  /** What other methods are told. */
  readonly advice: string;
  /** Throws an `OAuthError`, or says how the request is answered. */
  readonly accept: (request: OAuthRequest) => Answer;
  /** Told of answers that no hook sees. */
  readonly answered?: Answered | undefined;
}

/** Adds an endpoint that takes POST alone. */
export function addOAuthRoute(scope: FastifyInstance, route: OAuthRoute): void {
  const { path, schema, advice, accept, answered } = route;
  const config = { public: true } as const;
  scope.post<{ Body: TokenParameters | undefined }>(
    path,
    { config, schema, onRequest: forgetQuery },
    (request, reply) => {
      const answer = accept(request);
      forbidStoring(reply);
      reply.hijack();
      answer((found) => {
        answered?.(request, found.status);
        write(reply, found);
      });
    },
  );
  /** Before any body is read: what it says makes no difference. */
  const refuseMethod = async (_request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    forbidStoring(reply);
    return reply.code(405).header("allow", "POST").send(describe("invalid_request", advice));
  };
  scope.route({
    method: ["GET", "PUT", "PATCH", "DELETE"],
    url: path,
    config,
    schema: { hide: true },
    onRequest: [forgetQuery, refuseMethod],
    handler: refuseMethod,
  });
}

/** Past the framework's own way of sending, whose hooks have nothing to do with these answers. */
function write(reply: FastifyReply, { status, headers, body }: TokenAnswer): void {
  const { raw } = reply;
  const all: OutgoingHttpHeaders = { ...(reply.getHeaders() as OutgoingHttpHeaders), ...headers };
  // RFC 6749 section 5.2: with 401 goes the scheme that would do.
  if (status === 401) all["www-authenticate"] ??= CHALLENGE;
  raw.writeHead(status, all);
  raw.end(body);
}

/** Credentials do not belong into a URL (RFC 6749 section 2.3.1); those of who sends them there stay out of logs. */
function forgetQuery({ raw }: FastifyRequest, _reply: FastifyReply, done: () => void): void {
  const query = raw.url?.indexOf("?") ?? -1;
  if (query !== -1) raw.url = raw.url?.slice(0, query);
  done();
}

/** RFC 6749 section 5.1. */
function forbidStoring(reply: FastifyReply): void {
  reply.header("cache-control", "no-store").header("pragma", "no-cache");
}

function describe(error: string, error_description: string): OAuthFailure {
  return { error, error_description };
}

/** Failures that come before the provider: limits, bad bodies and missing parameters (RFC 6749 section 5.2). */
function sendFailure(
  thrown: FastifyError | OAuthError | AppError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  forbidStoring(reply);
  const error = isDatabaseAway(thrown) ? databaseAway(thrown) : thrown;
  if (error instanceof OAuthError) {
    if (error.status === 401) reply.header("www-authenticate", CHALLENGE);
    return reply.code(error.status).send(describe(error.code, error.message));
  }
  if (error instanceof AppError) {
    const known = STATUS[error.code];
    if (known !== undefined) {
      reply.header("retry-after", String(error.details["retryAfter"] ?? 1));
      return reply.code(known).send(describe("temporarily_unavailable", error.message));
    }
  }
  const status = error instanceof AppError ? 500 : (error.statusCode ?? 500);
  if (status >= 500) {
    request.log.error({ err: error }, "request failed");
    return reply.code(500).send(describe("server_error", "Internal server error"));
  }
  return reply.code(status === 413 ? 413 : 400).send(describe("invalid_request", error.message));
}
