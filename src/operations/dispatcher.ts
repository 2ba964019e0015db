import type { Logger } from "../platform/logger.js";
import type { Database } from "../platform/sql.js";
import type { Span, Tracer } from "../platform/tracing.js";
import { WHERE_TO } from "./ledger.js";
import type { OperationQueue, QueueItem } from "./queue.js";

/** Sent again after this when nobody has claimed it: the queue was wiped, or the sender died in between. */
const RESEND_MS = 3_000;
/**
 * So many of those that wait are in the queue at once, the most urgent ones. Sending again costs the same
 * however many wait behind them.
 */
const WINDOW = 500;

const NOBODYS = `status IN ('pending', 'running', 'cancelling')
             AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())`;

const DUE = {
  name: "operations_due",
  text: `WITH head AS (
           SELECT id AS head_id FROM operations WHERE ${NOBODYS} ORDER BY priority, id LIMIT $2),
         due AS (
           SELECT id AS due_id FROM operations JOIN head ON id = head_id
           WHERE ${NOBODYS}
             AND (dispatched_at IS NULL OR dispatched_at < clock_timestamp() - $1 * interval '1 millisecond')
           FOR UPDATE OF operations SKIP LOCKED),
         marked AS (
           UPDATE operations SET dispatched_at = clock_timestamp() FROM due WHERE id = due_id
           RETURNING id, priority, ${WHERE_TO} AS region, operation_type AS type, traceparent)
         SELECT * FROM marked ORDER BY priority, id`,
};

interface Due extends QueueItem {
  readonly type: string;
  readonly traceparent: string | null;
}

/** A span for each operation whose request is traced. */
function spansOf(tracer: Tracer, due: readonly Due[]): Span[] {
  return due.flatMap(({ id, type, traceparent }) =>
    traceparent === null
      ? []
      : [tracer.start(`dispatch ${type}`, "producer", traceparent, { "gatehouse.operation.id": id })],
  );
}

/**
 * Decides in PostgreSQL what is sent to workers now: everything accepted that nobody works at, pending and
 * left-behind alike. Any process may run it, as often as it likes.
 */
export class Dispatcher {
  readonly #db: Database;
  readonly #queue: OperationQueue;
  readonly #logger: Logger;
  readonly #tracer: Tracer | null;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #again = false;

  constructor(db: Database, queue: OperationQueue, logger: Logger, tracer: Tracer | null = null) {
    this.#db = db;
    this.#queue = queue;
    this.#logger = logger;
    this.#tracer = tracer;
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
    this.#running = this.#untilDone();
    return this.#running;
  }

  async #untilDone(): Promise<void> {
    try {
      do {
        this.#again = false;
        const due = await this.#db.rows<Due>(DUE, [RESEND_MS, WINDOW]);
        if (due.length > 0) await this.#send(due);
      } while (this.#again);
    } catch (error) {
      this.#logger.warn({ err: error }, "operations could not be sent; a later sweep tries again");
    } finally {
      // In the same breath as the last look at #again: else a call in between would be folded into nothing.
      this.#running = null;
    }
  }

  async #send(due: readonly Due[]): Promise<void> {
    const spans = this.#tracer === null ? [] : spansOf(this.#tracer, due);
    try {
      await this.#queue.send(due);
    } catch (error) {
      for (const span of spans) span.fail("the queue is away");
      throw error;
    } finally {
      for (const span of spans) span.end();
    }
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
