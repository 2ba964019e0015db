import type { Signals } from "../platform/signals.js";
import type { Database } from "../platform/sql.js";

/** Lost signals are made up for by one query over everything that is waited for. */
const BACKSTOP_MS = 500;

const DONE_AMONG = {
  name: "operations_done_among",
  text: `SELECT id FROM operations WHERE id = ANY ($1::uuid[]) AND status IN ('succeeded', 'failed', 'cancelled')`,
};

/**
 * Waits for operations to end without a query per waiter: fed by signals, with one batched query every 500 ms
 * while anybody waits at all.
 */
export class Waiters {
  readonly #db: Database;
  readonly #waiting = new Map<string, Set<(ended: boolean) => void>>();
  readonly #unsubscribe: () => void;
  /** Not looked at yet. */
  #fresh = new Set<string>();
  #looking = false;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(db: Database, signals: Signals) {
    this.#db = db;
    this.#unsubscribe = signals.subscribe("operation.changed", (id) => this.#settle(id, true));
  }

  /** Resolves when the operation has ended (true), or `timeoutMs` has passed or this is closed (false). Never rejects. */
  wait(id: string, timeoutMs: number): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    return new Promise((resolve) => {
      const listeners = this.#waiting.get(id) ?? new Set();
      const settle = (ended: boolean): void => {
        clearTimeout(timer);
        listeners.delete(settle);
        if (listeners.size === 0) this.#waiting.delete(id);
        resolve(ended);
      };
      const timer = setTimeout(() => settle(false), timeoutMs);
      this.#waiting.set(id, listeners.add(settle));
      // The end may have come between the caller's last look and now.
      this.#fresh.add(id);
      void this.#lookAtFresh();
      this.#timer ??= setInterval(() => this.#lookAtAll(), BACKSTOP_MS);
    });
  }

  #settle(id: string, ended: boolean): void {
    for (const settle of this.#waiting.get(id) ?? []) settle(ended);
  }

  #lookAtAll(): void {
    if (this.#waiting.size > 0) {
      for (const id of this.#waiting.keys()) this.#fresh.add(id);
      void this.#lookAtFresh();
    } else if (this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }

  /** One query at a time: whoever comes while one runs is in the next, together with all others. */
  async #lookAtFresh(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    // Everybody who comes in this very turn of the event loop shares the first query too.
    await Promise.resolve();
    while (this.#fresh.size > 0) {
      const ids = [...this.#fresh];
      this.#fresh = new Set();
      const done = await this.#db.rows<{ id: string }>(DONE_AMONG, [ids]).catch(() => []);
      for (const { id } of done) this.#settle(id, true);
    }
    this.#looking = false;
  }

  /** Lets everybody go. */
  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const id of [...this.#waiting.keys()]) this.#settle(id, false);
  }
}
