import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";

/** @param aborted whether it ended without its whole answer: the client has hung up, or was cut off */
type EndListener = (request: FastifyRequest, reply: FastifyReply, aborted: boolean) => void;

declare module "fastify" {
  interface FastifyInstance {
    /** Tells of the end of each request, once, however it ends; of those that no hook sees (a malformed URL) not. */
    onRequestEnd(listener: EndListener): void;
  }
  interface FastifyRequest {
    /** Whether its end was told. */
    hasEnded: boolean;
  }
}

/** As nginx names a client that hangs up; nobody is sent it. */
const CLIENT_CLOSED_REQUEST = 499;

/** The status of a request that has ended, for who counts and logs it. */
export function statusAtEnd({ raw }: FastifyReply, aborted: boolean): number {
  return aborted ? CLIENT_CLOSED_REQUEST : raw.statusCode;
}

/**
 * The one place that says when a request has ended. Fastify's `onResponse` comes when an answer was sent to its end;
 * where a client hangs up before (a stream, a wait), or is cut off, only the connection's `close` says so.
 */
export const requestEndPlugin = fp(
  async (app: FastifyInstance) => {
    const listeners: EndListener[] = [];
    const queued = new WeakMap<Socket, Set<ServerResponse>>();
    const end = (request: FastifyRequest, reply: FastifyReply, aborted: boolean): void => {
      if (request.hasEnded) return;
      request.hasEnded = true;
      for (const listener of listeners) listener(request, reply, aborted);
    };
    app.decorateRequest("hasEnded", false);
    app.decorate("onRequestEnd", (listener: EndListener) => void listeners.push(listener));
    app.addHook("onRequest", (request, reply, done) => {
      const { raw } = reply;
      // Not `once`, which costs more: `end` sees to that.
      raw.on("close", () => end(request, reply, true));
      if (raw.socket === null) closeWithConnection(queued, raw, request.raw.socket);
      done();
    });
    // Of an answer that was sent to its end this comes before `close`, and so decides.
    app.addHook("onResponse", (request, reply, done) => {
      end(request, reply, false);
      done();
    });
    // A connection that is gone tells its address only if it was asked before.
    app.server.on("connection", ({ remoteAddress: _kept }) => {});
  },
  { name: "request-end" },
);

/**
 * The answer to a pipelined request has no connection before its turn comes, and so Node.js lets nobody know where
 * that closes before: who waits for something would wait for ever. Once for each connection: many may be queued.
 */
function closeWithConnection(
  queued: WeakMap<Socket, Set<ServerResponse>>,
  raw: ServerResponse,
  socket: Socket,
): void {
  const answers = queued.get(socket) ?? new Set();
  if (!queued.has(socket)) {
    queued.set(socket, answers);
    socket.once("close", () => {
      for (const answer of answers) if (answer.socket === null) answer.emit("close");
    });
  }
  answers.add(raw);
  raw.once("close", () => answers.delete(raw));
}
