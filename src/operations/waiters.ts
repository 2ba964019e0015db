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
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #unsubscribe: () => void;
  #timer: NodeJS.Timeout | null = null;

  constructor(db: Database, signals: Signals) {
    this.#db = db;
    this.#unsubscribe = signals.subscribe("operation.changed", (id) => this.#wake(id));
  }

  /** Resolves when the operation has ended (true) or `timeoutMs` has passed (false). Never rejects. */
  wait(id: string, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const listeners = this.#waiting.get(id) ?? new Set();
      const settle = (ended: boolean): void => {
        clearTimeout(timer);
        listeners.delete(wake);
        if (listeners.size === 0) this.#waiting.delete(id);
        resolve(ended);
      };
      const wake = (): void => settle(true);
      const timer = setTimeout(() => settle(false), timeoutMs);
      this.#waiting.set(id, listeners.add(wake));
      // The end may have come between the caller's last look and now.
      void this.#look([id]);
      this.#timer ??= setInterval(() => void this.#look([...this.#waiting.keys()]), BACKSTOP_MS);
    });
  }

  #wake(id: string): void {
    for (const wake of this.#waiting.get(id) ?? []) wake();
  }

  async #look(ids: string[]): Promise<void> {
    if (ids.length === 0) {
      if (this.#timer !== null) clearInterval(this.#timer);
      this.#timer = null;
      return;
    }
    const done = await this.#db.rows<{ id: string }>(DONE_AMONG, [ids]).catch(() => []);
    for (const { id } of done) this.#wake(id);
  }

  /** Lets everybody go. */
  close(): void {
    this.#unsubscribe();
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const id of [...this.#waiting.keys()]) this.#wake(id);
  }
}
