import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import fp from "fastify-plugin";

declare module "fastify" {
  interface FastifyInstance {
    readonly drain: Drain;
  }
}

/** Why a process that drains takes something no more. */
export const DRAINING = "draining: this process is about to stop";

/** Requests that have begun and not ended, up to a moment. */
class Crowd extends EventTarget {
  #inside = 0;

  enter(): void {
    this.#inside += 1;
  }

  /** Bound: one function for all. */
  readonly leave = (): void => {
    this.#inside -= 1;
    if (this.#inside === 0) this.dispatchEvent(new Event("empty"));
  };

  async empty(): Promise<void> {
    if (this.#inside > 0) await once(this, "empty");
  }
}

/**
 * Lets a process go without a request that suffers: from `announce` on `/readyz` says 503, so that load balancers send
 * their requests elsewhere, and connections are not kept; requests are still answered, those that had begun and
 * those of balancers that have not noticed yet.
 */
export class Drain {
  #crowd = new Crowd();
  #draining = false;

  get draining(): boolean {
    return this.#draining;
  }

  /** A request has come; the returned function says that it has ended. */
  enter(): () => void {
    this.#crowd.enter();
    return this.#crowd.leave;
  }

  announce(): void {
    this.#draining = true;
  }

  /** Resolves when the requests that have begun until now have ended, or `limitMs` has passed. */
  async settle(limitMs: number): Promise<void> {
    const before = this.#crowd;
    this.#crowd = new Crowd();
    const timer = new AbortController();
    const late = delay(limitMs, undefined, { signal: timer.signal }).catch(() => {});
    await Promise.race([before.empty(), late]);
    timer.abort();
  }
}

export const drainPlugin = fp(
  async (app: FastifyInstance) => {
    const drain = new Drain();
    app.decorate("drain", drain);
    app.addHook("onRequest", (_request, reply, done) => {
      // Also where the client goes away before it is answered.
      reply.raw.on("close", drain.enter());
      if (drain.draining) reply.header("connection", "close");
      done();
    });
  },
  { name: "drain" },
);
