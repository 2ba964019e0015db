import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";
import { sentPath } from "./dialect.js";

/**
 * One line per answered request. It names the path without its query, which may hold an API key, and who called.
 */
export const accessLogPlugin = fp(
  async (app: FastifyInstance) => {
    app.addHook("onResponse", (request, reply, done) => {
      const entry = {
        method: request.method,
        path: sentPath(request),
        route: request.routeOptions.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        address: request.ip,
        caller: request.authenticated?.id,
        operationId: request.operationId ?? undefined,
      };
      if (reply.statusCode >= 500) request.log.warn(entry, "request");
      else request.log.info(entry, "request");
      done();
    });
  },
  { name: "access-log", dependencies: ["guard"] },
);
