import type { FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { readTraceparent, type Span, type Tracer, writeTraceparent } from "../platform/tracing.js";
import { statusAtEnd } from "./request-end.js";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Asked all the time by machines that watch. */
    untraced?: true;
  }
  interface FastifyRequest {
    /** The request's span; null: it is not traced. */
    span: Span | null;
    /** What continues the client's trace: the span, else what the client sent; null: nobody traces it. */
    traceparent: string | null;
    /** The operation that the request has started. */
    operationId: string | null;
  }
}

/**
 * A span per request, within the trace of the client where it says so (https://www.w3.org/TR/trace-context/), named
 * by the route; its ids stand in the request's log lines. Registered before whoever asks for `traceparent`.
 * @param tracer null: requests are not traced, and who is traced elsewhere stays so
 */
export const tracingPlugin = fp<{ tracer: Tracer | null }>(
  async (app: FastifyInstance, { tracer }: { tracer: Tracer | null }) => {
    app.decorateRequest("span", null);
    app.decorateRequest("traceparent", null);
    app.decorateRequest("operationId", null);
    app.addHook("onRequest", (request, reply, done) => {
      const parent = readTraceparent(request.headers["traceparent"]);
      if (parent !== null) request.traceparent = writeTraceparent(parent);
      if (tracer !== null && request.routeOptions.config.untraced !== true) {
        const span = begin(tracer, request);
        request.span = span;
        request.traceparent = span.traceparent;
        request.log = request.log.child({ traceId: span.traceId, spanId: span.spanId });
        reply.log = request.log;
      }
      done();
    });
    if (tracer === null) return;
    app.onRequestEnd(({ span, operationId }, reply, aborted) => {
      const statusCode = statusAtEnd(reply, aborted);
      span?.set({ "http.response.status_code": statusCode });
      if (aborted) span?.set({ "gatehouse.request.aborted": true });
      if (operationId !== null) span?.set({ "gatehouse.operation.id": operationId });
      if (statusCode >= 500) span?.fail(`status ${statusCode}`);
      span?.end();
    });
  },
  { name: "tracing", dependencies: ["request-end"] },
);

function begin(tracer: Tracer, request: FastifyRequest): Span {
  const { method, id } = request;
  const route = request.is404 ? null : request.routeOptions.url;
  return tracer.start(route == null ? method : `${method} ${route}`, "server", request.traceparent, {
    "http.request.method": method,
    ...(route == null ? {} : { "http.route": route }),
    "gatehouse.request.id": id,
  });
}
