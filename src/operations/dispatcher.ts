import { setTimeout as delay, setImmediate as endOfTurn } from "node:timers/promises";
import type { Logger } from "../platform/logger.js";
import { type Database, UNHURRIED } from "../platform/sql.js";
import type { Span, Tracer } from "../platform/tracing.js";
import { URGENT, URGENT_AT_ONCE } from "./catalog.js";
import { WHERE_TO } from "./claim.js";
import { ATTENDED, LINE, queuePriorityOf, rankOf, WAITING } from "./lines.js";
import type { OperationQueue, QueueItem } from "./queue.js";
import { DEFAULT_CONCURRENCY, limitOf } from "./slots.js";

/** Sent again after this when nobody has claimed it: the queue was wiped, or the sender died in between. */
const RESEND_MS = 3_000;
/** Lines that one sweep looks at; the next one goes on behind them. */
const LINES = 500;
/** So many are sent at once. Of one region a look sends no more, the first of all lines; where there are many, less of each. */
const WINDOW = 500;
/** Where looks follow on each other, the next one waits so long, and so many times as long as the last one took. */
const PAUSE_MS = 5;
const PAUSES = 2;
const LONGEST_PAUSE_MS = 50;
const MOST_OF_LINE = 50;
const LEAST_OF_LINE = 2;

/** Nobody works at it any more: its lease has run out, or it has none. */
const LEFT = `${ATTENDED} AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())`;
const UNSENT = "(dispatched_at IS NULL OR dispatched_at < clock_timestamp() - $1 * interval '1 millisecond')";

/**
 * Each line is read from its front, and no further than its organization has free slots, or may have urgent ones at
 * once, so what waits behind costs nothing. An operation's place counts those of its organization before it, at work and waiting: in the order of places
 * all organizations take turns. Nobody waits for the disk: a mark that a crash of the server loses is made again, with
 * a second delivery.
 */
const DUE = {
  name: "operations_due",
  text: `WITH RECURSIVE lines (line_organization, line_region) AS (
           (SELECT ${LINE} FROM operations WHERE ${WAITING} AND (${LINE}) > ($2::uuid, $3) ORDER BY ${LINE} LIMIT 1)
           UNION ALL
           SELECT following.* FROM lines, LATERAL (
             SELECT ${LINE} FROM operations WHERE ${WAITING} AND (${LINE}) > (line_organization, line_region)
             ORDER BY ${LINE} LIMIT 1) AS following),
         looked AS (SELECT * FROM lines LIMIT ${LINES}),
         hurried AS (
           SELECT organization_id AS hurried_organization, count(*)::int AS hurried FROM operations
           WHERE ${ATTENDED} AND priority < ${URGENT} AND lease_expires_at >= clock_timestamp() GROUP BY 1),
         shares AS MATERIALIZED (
           SELECT *, ${limitOf("line_organization", "$4")} - busy AS free,
             ${URGENT_AT_ONCE} - coalesce(hurried, 0) AS free_urgent,
             greatest(${LEAST_OF_LINE}, least(${MOST_OF_LINE}, ${WINDOW} / count(*) OVER ())) AS length
           FROM looked LEFT JOIN hurried ON hurried_organization = line_organization, LATERAL (
             SELECT count(*)::int AS busy FROM operation_slots
             WHERE organization_id = line_organization AND operation_id IS NOT NULL) AS taken),
         fronts AS (
           SELECT front_id, CASE WHEN urgent THEN place ELSE ${rankOf("busy", "place", "front_priority")} END AS rank,
             row_number() OVER (PARTITION BY line_region ORDER BY NOT urgent, busy + place + front_priority) AS number
           FROM shares, LATERAL (
             SELECT front.*, front_priority < ${URGENT} AS urgent,
               row_number() OVER (PARTITION BY front_priority < ${URGENT} ORDER BY front_priority, front_id) AS place
             FROM (SELECT id AS front_id, priority AS front_priority FROM operations
                   WHERE ${WAITING} AND organization_id = line_organization AND coalesce(region, '') = line_region
                   ORDER BY priority, id LIMIT length + greatest(0, least(free, length))) AS front) AS placed
           WHERE place <= least(length, CASE WHEN urgent THEN free_urgent ELSE free END)),
         found AS (
           SELECT front_id AS found_id, rank FROM fronts WHERE number <= ${WINDOW}
           UNION ALL
           SELECT id, 0 FROM operations WHERE ${LEFT}),
         due AS (
           SELECT due_id FROM found, LATERAL (
             SELECT id AS due_id FROM operations WHERE id = found_id AND (${WAITING} OR ${LEFT}) AND ${UNSENT}
             FOR UPDATE SKIP LOCKED) AS unlocked),
         marked AS (
           UPDATE operations SET dispatched_at = clock_timestamp()
           WHERE id = ANY (ARRAY(SELECT due_id FROM due)) AND ${UNHURRIED}
           RETURNING id, ${WHERE_TO} AS region, operation_type AS type, traceparent),
         last AS (
           SELECT line_organization, line_region
           FROM (SELECT *, row_number() OVER () AS number FROM looked) AS numbered WHERE number = ${LINES})
         SELECT id, ${queuePriorityOf("rank")} AS priority, region, type, traceparent, NULL::uuid AS "lastOrganization"
         FROM marked JOIN found ON id = found_id
         UNION ALL SELECT NULL, NULL, line_region, NULL, NULL, line_organization FROM last ORDER BY priority, id`,
};

/** Where a sweep begins: behind this line. */
interface Line {
  readonly organization: string;
  readonly region: string;
}

/** Before all lines. */
const START: Line = { organization: "00000000-0000-0000-0000-000000000000", region: "" };

/** Something to send, or the last line of those that were looked at, where there may be more. */
type Row =
  | (Due & { readonly lastOrganization: null })
  | { readonly region: string; readonly lastOrganization: string };

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

export interface DispatcherOptions {
  /** Null: nothing is traced. */
  readonly tracer?: Tracer | null;
  /** Operations that an organization has running at once where nothing else was said of it. */
  readonly concurrency?: number;
}

/**
 * Sends to workers what may begin, which PostgreSQL decides: what its acceptance found nobody before, and what a look
 * finds, of all that waits as much as each organization may have at work, and whatever was left behind. Any process may
 * run it, as often as it likes; what is sent is a proposal, the claim decides.
 */
export class Dispatcher {
  readonly #db: Database;
  readonly #queue: Pick<OperationQueue, "send">;
  readonly #logger: Logger;
  readonly #tracer: Tracer | null;
  readonly #concurrency: number;
  /** Marked as sent with its acceptance, and still to be sent. */
  readonly #marked: Due[] = [];
  #sending: Promise<void> | null = null;
  /** Where there are more lines than one sweep looks at. */
  #after = START;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #refill: NodeJS.Timeout | null = null;
  /** What the last look took, in milliseconds. */
  #tookMs = 0;
  /** Looks in a row that found nothing to send: while all slots are taken the next ones follow less and less soon. */
  #inVain = 0;
  #again = false;

  constructor(
    db: Database,
    queue: Pick<OperationQueue, "send">,
    logger: Logger,
    { tracer = null, concurrency = DEFAULT_CONCURRENCY }: DispatcherOptions = {},
  ) {
    this.#db = db;
    this.#queue = queue;
    this.#logger = logger;
    this.#tracer = tracer;
    this.#concurrency = concurrency;
  }

  /**
   * Sends what has just been accepted: at once where its acceptance marked it as sent, else when it is its turn. Never
   * rejects: what could not be sent is sent by a later sweep.
   * @param sendAs the priority that it was marked with
   */
  accepted(operation: Omit<Due, "priority">, sendAs: number | null): void {
    if (sendAs === null) return void this.dispatch();
    this.#marked.push({ ...operation, priority: sendAs });
    this.#sending ??= this.#sendMarked();
  }

  /** What is accepted in one statement is sent together, and so is what comes while that is being sent. */
  async #sendMarked(): Promise<void> {
    await endOfTurn();
    while (this.#marked.length > 0) {
      await this.#send(this.#marked.splice(0, WINDOW)).catch((error: unknown) => this.#complain(error));
    }
    this.#sending = null;
  }

  /**
   * Sends what is due, now. Calls while one runs are folded into one more, a moment later: however often it is called,
   * most of the time is left to work. Never rejects: what could not be sent is sent by a later sweep.
   */
  dispatch(): Promise<void> {
    if (this.#running !== null) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#untilDone();
    return this.#running;
  }

  /** Something has ended: sends more, a moment later, before the queue runs empty. */
  refill(): void {
    if (this.#refill !== null || this.#running !== null) return;
    this.#refill = setTimeout(() => {
      this.#refill = null;
      void this.dispatch();
    }, this.#pauseMs());
  }

  #pauseMs(): number {
    return Math.min(LONGEST_PAUSE_MS, Math.max(PAUSE_MS, PAUSES * this.#tookMs));
  }

  async #untilDone(): Promise<void> {
    try {
      await this.#look();
      while (this.#again) {
        await delay(Math.min(LONGEST_PAUSE_MS, this.#pauseMs() * 2 ** this.#inVain));
        this.#again = false;
        await this.#look();
      }
    } catch (error) {
      this.#complain(error);
    } finally {
      // In the same breath as the last look at #again: else a call in between would be folded into nothing.
      this.#running = null;
    }
  }

  #complain(error: unknown): void {
    this.#logger.warn({ err: error }, "operations could not be sent; a later sweep tries again");
  }

  async #look(): Promise<void> {
    const beganAt = performance.now();
    const due = await this.#take();
    this.#tookMs = performance.now() - beganAt;
    this.#inVain = due.length > 0 ? 0 : this.#inVain + 1;
    if (due.length > 0) await this.#send(due);
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

  /** What is to be sent; it is marked, and whoever dies before sending it is made up for. */
  async #take(): Promise<Due[]> {
    const { organization, region } = this.#after;
    const rows = await this.#db.rows<Row>(DUE, [RESEND_MS, organization, region, this.#concurrency]);
    this.#after = START;
    return rows.flatMap((row) => {
      if (row.lastOrganization === null) return [row];
      this.#after = { organization: row.lastOrganization, region: row.region };
      return [];
    });
  }

  /** Sweeps from time to time, until `stop`. */
  start(everyMs: number): void {
    this.#timer ??= setInterval(() => void this.dispatch(), everyMs);
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#refill !== null) clearTimeout(this.#refill);
    this.#timer = null;
    this.#refill = null;
    await Promise.all([this.#running, this.#sending]);
  }
}
