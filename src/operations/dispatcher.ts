import type { Logger } from "../platform/logger.js";
import type { Database } from "../platform/sql.js";
import type { OperationQueue } from "./queue.js";

/** Sent again after this when nobody has claimed it: the queue was wiped, or the sender died in between. */
const RESEND_MS = 3_000;
const BATCH = 500;

const DUE = {
  name: "operations_due",
  text: `WITH due AS (
           SELECT id FROM operations
           WHERE status IN ('pending', 'running', 'cancelling')
             AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
             AND (dispatched_at IS NULL OR dispatched_at < clock_timestamp() - $1 * interval '1 millisecond')
           ORDER BY priority, id LIMIT $2 FOR UPDATE SKIP LOCKED)
         UPDATE operations SET dispatched_at = clock_timestamp() FROM due WHERE operations.id = due.id
         RETURNING operations.id, operations.priority`,
};

/**
 * Decides in PostgreSQL what is sent to workers now: everything accepted that nobody works at, pending and
 * left-behind alike. Any process may run it, as often as it likes.
 */
export class Dispatcher {
  readonly #db: Database;
  readonly #queue: OperationQueue;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #again = false;

  constructor(db: Database, queue: OperationQueue, logger: Logger) {
    this.#db = db;
    this.#queue = queue;
    this.#logger = logger;
  }

  /**
   * Sends what is due, now. Calls while one runs are folded into one more. Never rejects: what could not be
   * sent is sent by a later sweep.
   */
  dispatch(): Promise<void> {
    if (this.#running !== null) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#untilDone().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #untilDone(): Promise<void> {
    do {
      this.#again = false;
      try {
        const due = await this.#db.rows<{ id: string; priority: number }>(DUE, [RESEND_MS, BATCH]);
        if (due.length > 0) await this.#queue.send(due);
        if (due.length === BATCH) this.#again = true;
      } catch (error) {
        this.#logger.warn({ err: error }, "operations could not be sent; the next sweep tries again");
        return;
      }
    } while (this.#again);
  }

  /** Sweeps from time to time, until `stop`. */
  start(everyMs: number): void {
    this.#timer ??= setInterval(() => void this.dispatch(), everyMs);
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    await this.#running;
  }
}
