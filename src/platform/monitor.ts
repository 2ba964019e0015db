import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { messageOf } from "./errors.js";
import { listenPatiently } from "./listen.js";
import type { Logger } from "./logger.js";
import type { Metrics } from "./metrics.js";

/** Whoever asks more often than this at once is no monitoring. */
const MAX_CONNECTIONS = 64;
const REQUEST_LIMIT_MS = 10_000;

export interface Monitored {
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Rejects, with the reason, while this process cannot work or is about to stop. */
  readonly ready: () => Promise<void>;
}

/** A listener for monitoring alone. */
export interface Monitor {
  close(): Promise<void>;
}

/**
 * Serves `/metrics` (Prometheus text), `/healthz` and `/readyz` of a process on a port of its own, to whoever
 * reaches it: no credentials are asked for. Rejects where the port cannot be listened on.
 */
export async function serveMonitor(
  { host, port }: { readonly host: string; readonly port: number },
  monitored: Monitored,
): Promise<Monitor> {
  const server = createServer({ requestTimeout: REQUEST_LIMIT_MS }, (request, response) => {
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      answer(response, 405, "text/plain", "only GET is answered here\n");
      return;
    }
    const path = request.url?.split("?", 1)[0] ?? "/";
    void respond(monitored, path, response).catch((error: unknown) => {
      monitored.logger.warn({ err: error }, "the metrics could not be told");
      answer(response, 500, "text/plain", "the log tells more\n");
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listenPatiently(async () => {
    server.listen(port, host);
    await once(server, "listening");
  });
  monitored.logger.info({ host, port }, "metrics are served");
  return {
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function respond({ metrics, ready }: Monitored, path: string, response: ServerResponse): Promise<void> {
  switch (path) {
    case "/metrics":
      answer(response, 200, metrics.contentType, await metrics.metrics());
      return;
    case "/healthz":
      answer(response, 200, "application/json", '{"status":"ok"}\n');
      return;
    case "/readyz":
      try {
        await ready();
        answer(response, 200, "application/json", '{"status":"ok"}\n');
      } catch (error) {
        answer(
          response,
          503,
          "application/json",
          `${JSON.stringify({ status: "unavailable", detail: messageOf(error) })}\n`,
        );
      }
      return;
    default:
      answer(response, 404, "text/plain", "/metrics, /healthz and /readyz are here\n");
  }
}

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
  response.end(body);
}
