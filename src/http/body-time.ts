import type { Socket } from "node:net";
import type { FastifyContextConfig, FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The body may be large: it may take as long as it goes on coming. */
    upload?: true;
  }
}

export interface BodyTime {
  /** From its headers to the end of its body. */
  readonly wholeMs: number;
  /** How long a large body may stand still. */
  readonly stillMs: number;
}

/**
 * Ends connections whose body does not come: Node has one limit for a whole request of any route, and archives take
 * as long as they take. Node's own limit for headers stays.
 */
export const bodyTimePlugin = fp<BodyTime>(
  async (app: FastifyInstance, { wholeMs, stillMs }: BodyTime) => {
    app.addHook("onRequest", (request, _reply, done) => {
      if (hasBody(request)) watch(request, isUpload(request.routeOptions.config) ? stillMs : wholeMs);
      done();
    });
  },
  { name: "body-time" },
);

function hasBody({ headers }: FastifyRequest): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

function isUpload({ upload }: FastifyContextConfig): boolean {
  return upload === true;
}

function watch({ raw, routeOptions }: FastifyRequest, limitMs: number): void {
  const { socket } = raw;
  const upload = isUpload(routeOptions.config);
  let seen = socket.bytesRead;
  const timer = setInterval(() => {
    const moved = socket.bytesRead > seen;
    seen = socket.bytesRead;
    // Who waits for us to read on, is not the one that stands still.
    if (!upload || !(moved || raw.isPaused())) timeOut(socket);
  }, limitMs);
  const stop = (): void => clearInterval(timer);
  raw.once("end", stop).once("close", stop);
}

/** As Node does at its own limit. */
function timeOut(socket: Socket): void {
  if (socket.writable) socket.write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
  socket.destroy();
}
