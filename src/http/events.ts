import type { OutgoingHttpHeaders } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import type { CallerDeps } from "./callers.js";
import { Readmission } from "./events-access.js";

declare module "fastify" {
  interface FastifyInstance {
    /** Answers that last: server-sent events. */
    readonly eventStreams: EventStreams;
  }
}

/** Proxies cut connections on which nothing is said, most of them after 30 s or more. */
const HEARTBEAT_MS = 15_000;
const CHECK_MS = 1_000;
/** A client that has so much left to read when more comes is cut; it comes back and gets the present state. */
const MAX_BUFFERED = 256 * 1024;
/** Until a client that lost its stream comes back. */
const RECONNECT_MS = 2_000;

export interface ServerEvent {
  /** What the client sends as `Last-Event-ID` when it comes back. */
  readonly id: number;
  readonly event: string;
  readonly data: object;
}

/** One open answer of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export class EventStream {
  readonly #reply: FastifyReply;
  readonly #admitted: () => Promise<boolean>;
  #saidAt = performance.now();
  #checking = false;

  constructor(reply: FastifyReply, admitted: () => Promise<boolean>) {
    this.#reply = reply;
    this.#admitted = admitted;
    // Of the reply, where those that measure answers see what this one is.
    reply.headers({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      // Nothing else comes on it: it must not stay open when the process wants to stop.
      connection: "close",
      // nginx would keep events back until it has some kilobytes of them.
      "x-accel-buffering": "no",
    });
    reply.hijack();
    reply.raw.writeHead(200, reply.getHeaders() as OutgoingHttpHeaders);
    this.#write(`retry: ${RECONNECT_MS}\n\n`);
  }

  send({ id, event, data }: ServerEvent): void {
    this.#write(`id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  end(): void {
    this.#reply.raw.end();
  }

  onClose(listener: () => void): void {
    if (this.#reply.raw.closed) listener();
    else this.#reply.raw.once("close", listener);
  }

  /** Says that it lives where nothing else was said, and ends where the caller may no longer listen. */
  async tick(): Promise<void> {
    if (performance.now() - this.#saidAt >= HEARTBEAT_MS) this.#write(": still here\n\n");
    if (this.#checking) return;
    this.#checking = true;
    if (!(await this.#admitted())) this.end();
    this.#checking = false;
  }

  #write(text: string): void {
    const { raw } = this.#reply;
    if (raw.writableEnded || raw.destroyed) return;
    // Of what came before: an event of any size is only on its way after this turn of the event loop.
    if (raw.writableLength > MAX_BUFFERED) return void raw.destroy();
    this.#saidAt = performance.now();
    raw.write(text);
  }
}

/** All open streams of a process, under one timer. */
export class EventStreams {
  readonly #readmission: Readmission;
  readonly #open = new Set<EventStream>();
  #timer: NodeJS.Timeout | null = null;

  constructor(deps: CallerDeps) {
    this.#readmission = new Readmission(deps);
  }

  /**
   * Begins to answer with events, until `end`; ends by itself when the caller loses its access or goes away.
   * @param projectId of what the events are about
   */
  open(request: FastifyRequest, reply: FastifyReply, projectId: string | null): EventStream {
    const stream = new EventStream(reply, () => this.#readmission.admits(request, projectId));
    this.#open.add(stream);
    stream.onClose(() => this.#open.delete(stream));
    this.#timer ??= setInterval(() => this.#tick(), CHECK_MS);
    return stream;
  }

  #tick(): void {
    for (const stream of this.#open) void stream.tick();
    if (this.#open.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const stream of this.#open) stream.end();
  }
}

/** The revision that a client has seen last, as it says when it comes back; null: none of ours. */
export function lastEventId({ headers }: FastifyRequest): number | null {
  const text = String(headers["last-event-id"] ?? "");
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
}

export const eventsPlugin = fp<CallerDeps>(
  async (app: FastifyInstance, deps: CallerDeps) => {
    const streams = new EventStreams(deps);
    app.decorate("eventStreams", streams);
    // Before the server waits for its connections to end.
    app.addHook("preClose", async () => streams.close());
  },
  { name: "events", dependencies: ["guard"] },
);
