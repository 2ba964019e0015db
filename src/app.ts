import cors from "@fastify/cors";
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from "fastify";
import type { AccessRecords } from "./auth/access-records.js";
import type { SigningKeys } from "./auth/keys.js";
import type { TokenEndpoint } from "./auth/token-endpoint.js";
import type { TokenVerifier } from "./auth/verifier.js";
import { bodiesPlugin } from "./http/bodies.js";
import { coreDialect } from "./http/core-api/dialect.js";
import { coreApi } from "./http/core-api/routes.js";
import { errorsPlugin, sendFailure } from "./http/errors.js";
import { guardPlugin } from "./http/guard.js";
import { healthRoutes } from "./http/health.js";
import { oauthPlugin } from "./http/oauth.js";
import { openapiPlugin } from "./http/openapi.js";
import { projectDialect } from "./http/project-api/dialect.js";
import { projectApi } from "./http/project-api/routes.js";
import { Problem } from "./http/schemas/common.js";
import type { Services } from "./http/services.js";
import { validationPlugin } from "./http/validation.js";
import type { Clock } from "./platform/clock.js";
import { newId } from "./platform/ids.js";
import type { Logger } from "./platform/logger.js";

/** Everything that the http side needs, made by others. */
export interface AppDeps {
  readonly version: string;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly corsOrigins: readonly string[];
  readonly services: Services;
  readonly keys: SigningKeys;
  readonly tokens: TokenEndpoint;
  readonly verifier: TokenVerifier;
  readonly accessRecords: AccessRecords;
  /** Rejects while requests cannot be answered. */
  readonly ready: () => Promise<void>;
}

const BODY_LIMIT = 1024 * 1024;
const REQUEST_TIMEOUT_MS = 120_000;

/** The first that owns a path shapes its errors; the core API's shape serves all other paths. */
const DIALECTS = [projectDialect, coreDialect];

/** The http server with every plugin and prefix, in order; it listens to nothing yet. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: deps.logger as FastifyBaseLogger,
    genReqId: newId,
    bodyLimit: BODY_LIMIT,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Keys in queries stay out of the log.
    disableRequestLogging: false,
    return503OnClosing: true,
    frameworkErrors: (error, request, reply) => void sendFailure(DIALECTS, error, request, reply),
    routerOptions: { maxParamLength: 500, ignoreTrailingSlash: true },
  });
  app.addSchema(Problem);
  await app.register(errorsPlugin, { dialects: DIALECTS });
  await app.register(validationPlugin);
  await app.register(bodiesPlugin);
  await app.register(cors, {
    origin: [...deps.corsOrigins],
    methods: ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    allowedHeaders: [
      "Origin",
      "Content-Type",
      "Accept",
      "Authorization",
      "Idempotency-Key",
      "Prefer",
      "X-CSRF-Token",
    ],
    exposedHeaders: ["Location", "Operation-Location", "Retry-After"],
    credentials: true,
  });
  await app.register(openapiPlugin, { version: deps.version });
  await app.register(guardPlugin, {
    verifier: deps.verifier,
    accessRecords: deps.accessRecords,
    clock: deps.clock,
  });
  await app.register(oauthPlugin, { tokens: deps.tokens, keys: deps.keys });
  await app.register(healthRoutes, { ready: deps.ready });
  const { services } = deps;
  await app.register(coreApi, { prefix: "/api/v1", services });
  await app.register(projectApi, { prefix: "/api/v1/project/:projectid", services });
  return app;
}
