import { METHODS } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { Counter, Histogram } from "prom-client";
import { Type } from "typebox";
import type { Metrics } from "../platform/metrics.js";
import { statusAtEnd } from "./request-end.js";
import { problems } from "./schemas/common.js";

/** Seconds. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS);
/** Of requests for paths that are no route's: clients make them up, so they become no labels. */
const NO_ROUTE = "none";

const METRICS_SCHEMA = {
  operationId: "getMetrics",
  summary: "Metrics of the process that answers, for Prometheus",
  description:
    "They tell of the whole installation, so no tenant's scope opens them. Workers and, where it is set, every process serve them on `METRICS_PORT` too.",
  tags: ["health"],
  response: {
    200: {
      description: "Prometheus text format.",
      content: {
        "text/plain": { schema: Type.String(), example: "gatehouse_database_up 1\n" },
      },
    },
    ...problems(),
  },
};

/** Counts and measures requests by the pattern of their route, and serves all metrics of the process. */
export const metricsPlugin = fp<{ metrics: Metrics }>(
  async (app: FastifyInstance, { metrics }: { metrics: Metrics }) => {
    const registers = [metrics];
    const requests = new Counter({
      name: "gatehouse_http_requests_total",
      help: "Requests that have ended, by method, route and status; 499: without their whole answer.",
      labelNames: ["method", "route", "status"],
      registers,
    });
    const durations = new Histogram({
      name: "gatehouse_http_request_duration_seconds",
      help: "From a request to the end of its answer, by method and route; without those that a client asked to last.",
      labelNames: ["method", "route"],
      buckets: BUCKETS,
      registers,
    });
    app.onRequestEnd((request, reply, aborted) => {
      const method = KNOWN_METHODS.has(request.method) ? request.method : "other";
      const route = request.is404 ? NO_ROUTE : (request.routeOptions.url ?? NO_ROUTE);
      requests.inc({ method, route, status: statusAtEnd(reply, aborted) });
      if (!aborted && !wasToLast(reply)) durations.observe({ method, route }, reply.elapsedTime / 1_000);
    });
    app.get(
      "/metrics",
      { config: { scopes: ["platform:metrics"], untraced: true }, logLevel: "warn", schema: METRICS_SCHEMA },
      async (_request: FastifyRequest, reply) => {
        const text = await metrics.metrics();
        return reply.header("cache-control", "no-store").type(metrics.contentType).send(text);
      },
    );
  },
  { name: "metrics", dependencies: ["guard", "request-end"] },
);

/** Waits (`Prefer: wait`) and event streams take as long as clients want. */
function wasToLast(reply: FastifyReply): boolean {
  return (
    reply.hasHeader("preference-applied") ||
    String(reply.getHeader("content-type") ?? "").startsWith("text/event-stream")
  );
}
