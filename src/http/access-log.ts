import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { sentPath } from "./dialect.js";

/**
 * One line per answered request. It names the path without its query, which may hold an API key, and who called.
 */
export const accessLogPlugin = fp(
  async (app: FastifyInstance) => {
    // A logger of its own: these fields hold nothing to be taken out, which every line would be looked through for.
    const lines = app.log.child({}, { redact: [] });
    app.addHook("onResponse", (request, reply, done) => {
      const entry = {
        reqId: request.id,
        ...(request.span === null ? {} : { traceId: request.span.traceId, spanId: request.span.spanId }),
        method: request.method,
        path: sentPath(request),
        route: request.routeOptions.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        address: request.ip,
        caller: request.authenticated?.id,
        operationId: request.operationId ?? undefined,
      };
      if (reply.statusCode >= 500) lines.warn(entry, "request");
      else if (request.routeOptions.logLevel !== "warn") lines.info(entry, "request");
      done();
    });
  },
  { name: "access-log", dependencies: ["guard", "tracing"] },
);
