import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { sentPath } from "./dialect.js";
import { statusAtEnd } from "./request-end.js";

/**
 * One line per request that has ended. It names the path without its query, which may hold an API key, and who called.
 */
export const accessLogPlugin = fp(
  async (app: FastifyInstance) => {
    // A logger of its own: these fields hold nothing to be taken out, which every line would be looked through for.
    const lines = app.log.child({}, { redact: [] });
    app.onRequestEnd((request, reply, aborted) => {
      const status = statusAtEnd(reply, aborted);
      const entry = {
        reqId: request.id,
        ...(request.span === null ? {} : { traceId: request.span.traceId, spanId: request.span.spanId }),
        method: request.method,
        path: sentPath(request),
        route: request.routeOptions.url,
        status,
        aborted: aborted ? true : undefined,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        address: request.ip,
        caller: request.authenticated?.id,
        operationId: request.operationId ?? undefined,
      };
      if (status >= 500) lines.warn(entry, "request");
      else if (request.routeOptions.logLevel !== "warn") lines.info(entry, "request");
    });
  },
  { name: "access-log", dependencies: ["guard", "request-end", "tracing"] },
);
