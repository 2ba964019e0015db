import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
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

export interface StreamLimits {
  /** Proxies cut connections on which nothing is said, most of them after 30 s or more. */
  readonly heartbeatMs: number;
  /** A client that has so much left to read (bytes) when more comes is cut; it comes back and gets the present state. */
  readonly maxBuffered: number;
  /** As one that takes nothing of what was written for so long. More than `heartbeatMs`: else silence is enough. */
  readonly stalledMs: number;
  /** The same after the end of a stream, when nothing else is waited for. */
  readonly endingMs: number;
}

const LIMITS: StreamLimits = {
  heartbeatMs: 15_000,
  maxBuffered: 256 * 1024,
  stalledMs: 60_000,
  endingMs: 5_000,
};

const CHECK_MS = 1_000;
/** Until a client that lost its stream comes back. */
const RECONNECT_MS = 2_000;

export interface ServerEvent {
  /** What the client sends as `Last-Event-ID` when it comes back. */
  readonly id: number;
  readonly event: string;
  readonly data: object;
}

/** One event as it is sent: the same text for everybody who is told. */
export function toEventText({ id, event, data }: ServerEvent): string {
  return `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** One open answer of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export class EventStream {
  readonly #raw: ServerResponse;
  readonly #admitted: () => Promise<boolean>;
  readonly #limits: StreamLimits;
  readonly #listeners: (() => void)[] = [];
  #over = false;
  #saidAt = performance.now();
  #checking = false;

  constructor(reply: FastifyReply, admitted: () => Promise<boolean>, limits = LIMITS) {
    this.#raw = reply.raw;
    this.#admitted = admitted;
    this.#limits = limits;
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
    this.#raw.writeHead(200, reply.getHeaders() as OutgoingHttpHeaders);
    this.#raw.once("close", () => this.#tellEnd());
    // The socket's own: it knows of parts of what was written that were taken, however much that is.
    this.#raw.setTimeout(limits.stalledMs, () => void this.#raw.destroy());
    this.#write(`retry: ${RECONNECT_MS}\n\n`);
  }

  /** @param text of `toEventText` */
  send(text: string): void {
    this.#write(text);
  }

  end(): void {
    if (this.#raw.writableEnded) return;
    this.#raw.end();
    // `close` comes when the client has taken the rest, which one that stands still never does.
    this.#raw.setTimeout(this.#limits.endingMs);
    this.#tellEnd();
  }

  /** Calls when nothing more will be sent: it was ended, or its client has gone. */
  onEnd(listener: () => void): void {
    if (this.#over) listener();
    else this.#listeners.push(listener);
  }

  /** Calls when its connection is closed. */
  onClose(listener: () => void): void {
    if (this.#raw.closed) listener();
    else this.#raw.once("close", listener);
  }

  /** Says that it lives where nothing else was said, and ends where the caller may no longer listen. */
  async tick(): Promise<void> {
    if (this.#over) return;
    if (performance.now() - this.#saidAt >= this.#limits.heartbeatMs) this.#write(": still here\n\n");
    if (this.#checking) return;
    this.#checking = true;
    if (!(await this.#admitted())) this.end();
    this.#checking = false;
  }

  #tellEnd(): void {
    this.#over = true;
    for (const listener of this.#listeners.splice(0)) listener();
  }

  #write(text: string): void {
    const raw = this.#raw;
    if (raw.writableEnded || raw.destroyed) return;
    // Of what came before: an event of any size is only on its way after this turn of the event loop.
    if (raw.writableLength > this.#limits.maxBuffered) return void raw.destroy();
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
