import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";

declare module "fastify" {
  interface FastifyContextConfig {
    /**
     * The body may be large: it may take as long as it goes on coming. Its route reads it after the hooks, so it heeds
     * `request.replayUpload` and calls `KeyHold.includeUpload`, and has `idempotency: "transaction"`.
     */
    upload?: true;
  }
}

export interface BodyTime {
  /** From its headers to the end of its body. */
  readonly wholeMs: number;
  /** How long a large body may stand still. */
  readonly stillMs: number;
}

/** How much later than its limit a body may be given up, as a part of the shorter limit. */
const SLACK = 1 / 60;

/**
 * Ends connections whose body does not come: Node has one limit for a whole request of any route, and archives take
 * as long as they take. Node's own limit for headers stays. One timer looks after all connections: one per request
 * costs a good part of what a small one takes.
 */
export const bodyTimePlugin = fp<BodyTime>(
  async (app: FastifyInstance, { wholeMs, stillMs }: BodyTime) => {
    const awaited = new Map<Socket, Awaited>();
    const look = (): void => {
      const now = performance.now();
      for (const [socket, body] of awaited) {
        if (hasEnded(body)) awaited.delete(socket);
        else if (isOverdue(body, now)) timeOut(socket);
      }
    };
    const timer = setInterval(look, Math.min(wholeMs, stillMs) * SLACK).unref();
    app.addHook("onClose", async () => clearInterval(timer));
    app.addHook("onRequest", (request, _reply, done) => {
      if (hasBody(request)) watch(awaited, request, { wholeMs, stillMs });
      done();
    });
  },
  { name: "body-time" },
);

/** The latest body of a connection. */
interface Awaited {
  readonly raw: IncomingMessage;
  readonly upload: boolean;
  readonly limitMs: number;
  /** When it is given up (monotonic milliseconds). */
  endsAt: number;
  /** The connection's bytes when it was last seen to come. */
  seen: number;
}

function hasBody({ headers }: FastifyRequest): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

function watch(
  awaited: Map<Socket, Awaited>,
  { raw, routeOptions }: FastifyRequest,
  { wholeMs, stillMs }: BodyTime,
): void {
  const { socket } = raw;
  const upload = routeOptions.config.upload === true;
  const limitMs = upload ? stillMs : wholeMs;
  const body = { raw, upload, limitMs, endsAt: performance.now() + limitMs, seen: socket.bytesRead };
  awaited.set(socket, body);
}

/** It is all here, or nobody waits for it any more. */
function hasEnded({ raw }: Awaited): boolean {
  return raw.complete || raw.destroyed || raw.socket.destroyed;
}

function isOverdue(body: Awaited, now: number): boolean {
  const { raw, upload, limitMs, endsAt } = body;
  if (now < endsAt) return false;
  const { bytesRead } = raw.socket;
  const moved = bytesRead > body.seen;
  // Who waits for us to read on, is not the one that stands still.
  if (!upload || !(moved || raw.readableLength > 0)) return true;
  Object.assign(body, { seen: bytesRead, endsAt: now + limitMs });
  return false;
}

/** As Node does at its own limit. */
function timeOut(socket: Socket): void {
  if (socket.writable) socket.write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
  socket.destroy();
}
