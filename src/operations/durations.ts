import type { Sql } from "../platform/sql.js";
import type { OperationType } from "./catalog.js";
import { isDone, type Operation, secondsLeft } from "./operation.js";

/** Seconds. */
const SHORTEST = 1;
const LONGEST = 30;
const KEPT_MS = 60_000;

/**
 * Of those that succeeded: others end early, or late. By the index on type and end: a hundred rows, however many there
 * are.
 */
const MEDIAN = {
  name: "operation_median",
  text: `SELECT extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY finished_at - started_at))::float8 AS seconds
         FROM (SELECT started_at, finished_at
               FROM (SELECT status, started_at, finished_at FROM operations
                     WHERE operation_type = $1 AND finished_at IS NOT NULL
                     ORDER BY finished_at DESC LIMIT 100) AS ended
               WHERE status = 'succeeded' ORDER BY finished_at DESC LIMIT 20) AS latest`,
};

interface Known {
  readonly since: number;
  readonly askedOn: Sql;
  readonly seconds: Promise<number | null>;
  settled: boolean;
}

/** How long operations take, from those of all organizations that succeeded last. */
export class Durations {
  readonly #sql: Sql;
  readonly #known = new Map<OperationType, Known>();

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /**
   * The median of a type in seconds from start to end, at most a minute old; null where none succeeded of late, or the
   * database is away.
   * @param tx of who asks in a transaction: it must wait for no other connection, all of which may be held by others
   * that wait as well
   */
  median(type: OperationType, tx?: Sql): Promise<number | null> {
    const found = this.#known.get(type);
    const now = performance.now();
    if (found !== undefined && now - found.since < KEPT_MS) {
      return found.settled || tx === undefined || tx === found.askedOn ? found.seconds : ask(tx, type);
    }
    const askedOn = tx ?? this.#sql;
    const known: Known = { since: now, askedOn, seconds: ask(askedOn, type), settled: false };
    this.#known.set(type, known);
    void known.seconds.then(() => {
      known.settled = true;
    });
    return known.seconds;
  }

  /**
   * Whole seconds until a look at an operation is worth while: an honest `Retry-After`. What remains of the work by what
   * is measured, else by the median. How long one that is pending waits for its start nobody knows.
   * @param tx as for `median`
   */
  async retryAfter(operation: Operation, tx?: Sql): Promise<number> {
    const { status, startedAt, operationType } = operation;
    if (isDone(status) || status === "cancelling") return SHORTEST;
    const now = Date.now();
    const left =
      secondsLeft(operation, now) ?? ((await this.median(operationType, tx)) ?? 0) - since(startedAt, now);
    return Math.min(LONGEST, Math.max(SHORTEST, Math.ceil(left)));
  }
}

/** Never rejects. */
async function ask(sql: Sql, type: OperationType): Promise<number | null> {
  try {
    const [row] = await sql.rows<{ seconds: number | null }>(MEDIAN, [type]);
    return row?.seconds ?? null;
  } catch {
    return null;
  }
}

function since(start: Date | null, now: number): number {
  return start === null ? 0 : Math.max(0, now - start.getTime()) / 1_000;
}
