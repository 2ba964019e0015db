import { randomUUID } from "node:crypto";
import cors from "@fastify/cors";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from "fastify";
import type { Access } from "./access.js";
import { accessLogPlugin } from "./http/access-log.js";
import { bodiesPlugin } from "./http/bodies.js";
import { type BodyTime, bodyTimePlugin } from "./http/body-time.js";
import type { CallerDeps } from "./http/callers.js";
import { clientErrorHandler } from "./http/client-errors.js";
import { coreDialect } from "./http/core-api/dialect.js";
import { coreApi } from "./http/core-api/routes.js";
import { deploymentsDialect } from "./http/deployments-api/dialect.js";
import { deploymentsApi } from "./http/deployments-api/routes.js";
import type { Dialect } from "./http/dialect.js";
import { errorsPlugin, sendFailure } from "./http/errors.js";
import { eventsPlugin } from "./http/events.js";
import { guardPlugin } from "./http/guard.js";
import { healthRoutes } from "./http/health.js";
import { drainPlugin } from "./http/health-drain.js";
import { idempotencyPlugin } from "./http/idempotency.js";
import { metadataPlugin, resourceMetadataUrl } from "./http/metadata.js";
import { metricsPlugin } from "./http/metrics.js";
import { oauthPlugin } from "./http/oauth.js";
import { openapiPlugin } from "./http/openapi.js";
import { projectDialect } from "./http/project-api/dialect.js";
import { peopleApi } from "./http/project-api/people.js";
import { projectApi } from "./http/project-api/routes.js";
import { type RatePolicy, RequestLimit } from "./http/rate-limit.js";
import { requestEndPlugin } from "./http/request-end.js";
import { requestLoggerPlugin } from "./http/request-logger.js";
import { Problem } from "./http/schemas/common.js";
import { sharedSerializers } from "./http/serialization.js";
import type { Services } from "./http/services.js";
import { sessionAuthenticator, sessionPlugin } from "./http/session-auth.js";
import { topicsDialect } from "./http/topics-api/dialect.js";
import { topicsApi } from "./http/topics-api/routes.js";
import { tracingPlugin } from "./http/tracing.js";
import { validationPlugin } from "./http/validation.js";
import type { Logger } from "./platform/logger.js";
import type { Metrics } from "./platform/metrics.js";
import type { Tracer } from "./platform/tracing.js";

/** How often things may be done (0: as often as one likes). */
export interface Limits {
  readonly requestsPerPrincipal: RatePolicy;
  readonly failuresPerAddress: RatePolicy;
  readonly tokensPerClient: RatePolicy;
  readonly tokensPerAddress: RatePolicy;
}

/** Everything that the http side needs, made by others. */
export interface AppDeps {
  readonly version: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tracer: Tracer | null;
  readonly corsOrigins: readonly string[];
  /** As in `Config`; empty: whoever connects is where a request comes from, whatever it says. */
  readonly trustProxy: readonly string[];
  readonly services: Services;
  readonly access: Access;
  readonly limits: Limits;
}

const BODY_LIMIT = 1024 * 1024;
const BODY_TIME: BodyTime = { wholeMs: 120_000, stillMs: 60_000 };

/** The first that owns a path shapes its errors; the core API's shape serves all other paths. */
const DIALECTS = [projectDialect, topicsDialect, deploymentsDialect, coreDialect];

/** The http server with every plugin and prefix, in order; it listens to nothing yet. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: deps.logger as FastifyBaseLogger,
    // In no order: nothing is stored by it, and every request pays for it.
    genReqId: () => randomUUID(),
    bodyLimit: BODY_LIMIT,
    // `bodyTimePlugin` has a limit per route.
    requestTimeout: 0,
    trustProxy: deps.trustProxy.length === 0 ? false : deps.trustProxy.map(toProxyName),
    // `accessLogPlugin` writes one line per request, without the query.
    logController: new LogController({ disableRequestLogging: true }),
    // What comes while the last connections are closed is answered too, not refused without a word of when to try again.
    return503OnClosing: false,
    clientErrorHandler: clientErrorHandler(DIALECTS),
    frameworkErrors: (error, request, reply) => void sendFailure(DIALECTS, error, request, reply),
    schemaController: { compilersFactory: { buildSerializer: sharedSerializers() } },
    routerOptions: { maxParamLength: 500, ignoreTrailingSlash: true },
  });
  app.addSchema(Problem);
  await app.register(requestLoggerPlugin);
  await app.register(requestEndPlugin);
  await app.register(drainPlugin);
  await app.register(tracingPlugin, { tracer: deps.tracer });
  await app.register(errorsPlugin, { dialects: DIALECTS });
  await app.register(validationPlugin);
  await app.register(bodyTimePlugin, BODY_TIME);
  await app.register(bodiesPlugin);
  await app.register(cors, {
    origin: [...deps.corsOrigins],
    methods: ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    allowedHeaders: [
      "Origin",
      "Content-Type",
      "Accept",
      "Authorization",
      "DPoP",
      "Idempotency-Key",
      "Last-Event-ID",
      "Prefer",
      "Traceparent",
      "X-CSRF-Token",
    ],
    // As text: a list is put together anew for each request.
    exposedHeaders: "Location, Operation-Location, Retry-After, Preference-Applied, Idempotent-Replayed",
    credentials: true,
    // OPTIONS of who is no browser is no fault.
    strictPreflight: false,
  });
  await app.register(openapiPlugin, { version: deps.version });
  const { access, limits, services } = deps;
  await app.register(sessionPlugin);
  const callers = guardOptions(access, limits, sessionsOf(services, access));
  const limit = new RequestLimit({
    ...access,
    policy: limits.requestsPerPrincipal,
    counters: access.localCounters,
  });
  await app.register(guardPlugin, { ...callers, limit });
  await app.register(eventsPlugin, callers);
  await app.register(accessLogPlugin);
  await app.register(metricsPlugin, { metrics: deps.metrics });
  await app.register(idempotencyPlugin, services.idempotency);
  await app.register(oauthPlugin, { ...access, limits, people: services.people });
  await app.register(metadataPlugin, access);
  await app.register(healthRoutes, { ready: () => access.ready() });
  await app.register(coreApi, { prefix: "/api/v1", services });
  await app.register(peopleApi, { services });
  await app.register(projectApi, { prefix: "/api/v1/project/:projectid", services });
  await app.register(topicsApi, { prefix: "/api/v1", services });
  await app.register(deploymentsApi, { services });
  return app;
}

/** @fastify/proxy-addr has another word for the private networks. */
function toProxyName(proxy: string): string {
  return proxy === "private" ? "uniquelocal" : proxy;
}

/** What the guard asks of the rest. */
export function guardOptions(
  access: Access,
  { failuresPerAddress }: Limits,
  sessions: CallerDeps["sessions"],
): CallerDeps {
  return {
    ...access,
    accessRecords: access.records,
    sessions,
    resourceMetadata: resourceMetadataUrl(access.publicUrl),
    failures: failuresPerAddress,
    dialectOf: dialectNameOf,
  };
}

/** Who a session cookie stands for; what another site's page tries in somebody's name is written down. */
function sessionsOf({ sessions, browser }: Services, { audit }: Access): CallerDeps["sessions"] {
  return sessionAuthenticator({
    sessions,
    origins: browser.origins,
    dialectOf: dialectNameOf,
    refused: (principal, { message }) =>
      audit.note(principal, { action: "request.denied", outcome: "denied", details: { reason: message } }),
  });
}

function dialectNameOf(path: string): Dialect["name"] | null {
  return DIALECTS.find((dialect) => dialect.owns(path))?.name ?? null;
}
