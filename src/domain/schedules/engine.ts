import type { Principal } from "../../auth/principal.js";
import { AppError } from "../../platform/errors.js";
import type { Logger } from "../../platform/logger.js";
import { type Database, isDatabaseAway, type Sql, type Transaction } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import { system } from "../system.js";
import { nextTick } from "./cron.js";

/** What happens to a tick while what an earlier one started still runs: it passes, or one start waits for the end. */
export const OVERLAPS = ["skip", "queue"] as const;
export type Overlap = (typeof OVERLAPS)[number];

const LEFT_ALONE_MS = 60_000;

/** Why nothing can be started now; for the audit log. */
export type Obstacle = Readonly<Record<string, unknown>>;

/** A schedule that has something to do; its row is held until the transaction ends. */
export interface DueSchedule {
  /** What is scheduled, such as a job. */
  readonly id: string;
  readonly organizationId: string;
  readonly projectId: string | null;
  readonly cron: string;
  readonly timeZone: string;
  /** What becomes of a tick that finds something in its way. A book says `skip`, whatever is set, of what does not end by itself: what waited passes then too. */
  readonly overlap: Overlap;
  /** PostgreSQL's: the processes' clocks may differ. */
  readonly now: Date;
  /** Not after `now`: a tick has come. Later: only a start that waited is to be made. */
  readonly nextAt: Date;
  /** Since when a start waits; null: none does. */
  readonly queuedAt: Date | null;
  /** Null: nothing is in the way. */
  readonly obstacle: Obstacle | null;
}

/** What is written back. */
export interface ScheduleState {
  readonly nextAt: Date | null;
  readonly queuedAt: Date | null;
  /** A tick has just passed without a start. */
  readonly skipped: boolean;
}

/** Schedules of one kind of thing, where they are stored. */
export interface ScheduleBook<S extends DueSchedule = DueSchedule> {
  /** What is scheduled, for the audit log: `job`. */
  readonly kind: string;
  /** In SQL, whether there may be something to take: asked from time to time, without holding anything. */
  readonly due: string;
  /**
   * Holds one schedule whose tick has come, else one whose start waits and has nothing in its way any more; null where
   * there is none. Those that others hold are passed over.
   * @param except ids of those that are left alone
   */
  take(tx: Sql, except: readonly string[]): Promise<S | null>;
  /** Accepts the operation. May throw: then nothing of it remains, and the tick has passed. */
  start(tx: Sql, principal: Principal, schedule: S): Promise<void>;
  write(tx: Sql, schedule: S, state: ScheduleState): Promise<void>;
}

/**
 * Starts what schedules ask for. They live in PostgreSQL: any number of workers may look, and each tick is taken by
 * one, in one transaction with what it starts. Ticks that nobody was there for are made up for by one start.
 */
export class Schedules {
  readonly #db: Database;
  readonly #books: readonly ScheduleBook[];
  readonly #logger: Logger;
  /** One statement for all kinds: most of the time nothing is due. */
  readonly #look: string;
  /** Until when those are left alone that could not be taken here, by their ids. */
  readonly #troubled = new Map<string, number>();

  constructor(db: Database, books: readonly ScheduleBook[], logger: Logger) {
    this.#db = db;
    this.#books = books;
    this.#logger = logger;
    this.#look = `SELECT ${books.map(({ due }) => `(${due})`).join(" OR ")} AS due`;
  }

  /**
   * Takes everything that is due, one after the other, until `signal` tells it to stop; says how much. Rejects where one
   * kind could not be looked at, after the others.
   */
  async runDue(signal?: AbortSignal): Promise<number> {
    const [look] = await this.#db.rows<{ due: boolean }>(this.#look);
    if (look?.due !== true) return 0;
    let taken = 0;
    for (const [id, until] of this.#troubled) if (until < performance.now()) this.#troubled.delete(id);
    const looks = this.#books.map(async (book) => {
      while (signal?.aborted !== true) {
        const result = await this.#takeNext(book);
        if (result === "none") return;
        if (result === "taken") taken += 1;
      }
    });
    const ends = await Promise.allSettled(looks);
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    return taken;
  }

  /**
   * One that cannot be taken here, such as one in a time zone that another version of the runtime knew, is left to other
   * workers for a minute, and to the next look after that: it must not stand in the way of all others.
   */
  async #takeNext(book: ScheduleBook): Promise<"taken" | "none" | "troubled"> {
    const held: { id?: string } = {};
    try {
      const taken = await this.#db.transaction(async (tx) => {
        const schedule = await book.take(tx, [...this.#troubled.keys()]);
        if (schedule === null) return false;
        held.id = schedule.id;
        return settle(tx, book, schedule, this.#logger);
      });
      return taken ? "taken" : "none";
    } catch (error) {
      const { id } = held;
      if (id === undefined || isDatabaseAway(error)) throw error;
      this.#troubled.set(id, performance.now() + LEFT_ALONE_MS);
      this.#logger.error(
        { err: error, kind: book.kind, id },
        "a schedule cannot be taken here: it is left alone for a minute",
      );
      return "troubled";
    }
  }
}

/** Makes the start of a schedule that the transaction holds, or lets its tick pass; false where it goes on waiting. */
async function settle(
  tx: Transaction,
  book: ScheduleBook,
  schedule: DueSchedule,
  logger: Logger,
): Promise<boolean> {
  const { cron, timeZone, overlap, now, nextAt, queuedAt, obstacle } = schedule;
  const ticks = nextAt.getTime() <= now.getTime();
  const following = ticks ? nextTick(cron, timeZone, now) : nextAt;
  if (obstacle === null) {
    const fault = await tryStart(tx, book, schedule, logger);
    if (fault !== null) await record(tx, book, schedule, "schedule.failed", { detail: fault });
    // A tick that comes together with the start that waited finds that one running.
    const waits = ticks && queuedAt !== null && fault === null;
    await book.write(tx, schedule, {
      nextAt: following,
      queuedAt: waits ? now : null,
      skipped: fault !== null,
    });
    return true;
  }
  // A start that waits, and something has come in its way since it was found: it goes on waiting.
  if (!ticks && overlap === "queue") return false;
  const queues = overlap === "queue" && queuedAt === null;
  await record(tx, book, schedule, queues ? "schedule.queued" : "schedule.skipped", obstacle);
  const waitsSince = overlap === "queue" ? (queuedAt ?? now) : null;
  await book.write(tx, schedule, { nextAt: following, queuedAt: waitsSince, skipped: !queues });
  return true;
}

/**
 * Null: it is started. What one schedule's start throws must not keep all others waiting: it is taken back alone, and
 * said. A database that goes away takes the whole transaction with it, and the tick is due at the next look too.
 */
async function tryStart(
  tx: Transaction,
  book: ScheduleBook,
  schedule: DueSchedule,
  logger: Logger,
): Promise<string | null> {
  try {
    await tx.part(() => book.start(tx, system("scheduler", schedule.organizationId), schedule));
    return null;
  } catch (error) {
    if (isDatabaseAway(error)) throw error;
    if (error instanceof AppError) return error.message;
    logger.error(
      { err: error, kind: book.kind, id: schedule.id },
      "what a schedule asks for cannot be started",
    );
    return "an internal error";
  }
}

async function record(
  tx: Sql,
  book: ScheduleBook,
  schedule: DueSchedule,
  action: "schedule.skipped" | "schedule.queued" | "schedule.failed",
  details: Obstacle,
): Promise<void> {
  const target = { type: book.kind, id: schedule.id };
  const outcome = action === "schedule.queued" ? "success" : "failure";
  await auditSql(tx, system("scheduler", schedule.organizationId), {
    action,
    target,
    projectId: schedule.projectId,
    outcome,
    details,
  });
}
