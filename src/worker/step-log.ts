import type { Logger } from "../platform/logger.js";
import type { Sql } from "../platform/sql.js";

/** Kept of each step: the first and the last half of this many bytes. */
const CAPACITY_BYTES = 10 * 1024 * 1024;
const HALF = CAPACITY_BYTES / 2;
const FLUSH_EVERY_MS = 250;
const MAX_LINE = 16 * 1024;

export type LogLevel = "debug" | "info" | "warn" | "error";

interface Line {
  readonly step: string;
  readonly level: LogLevel;
  readonly time: Date;
  readonly message: string;
  /** Of the message and the end of its line. */
  readonly bytes: number;
}

/** Earlier attempts have printed too: theirs comes first. */
const PRINTED = {
  name: "step_log_printed",
  text: `SELECT step, max("offset" + octet_length(message) + 1)::float8 AS bytes FROM step_logs
         WHERE run_id = $1 GROUP BY step`,
};

const INSERT = {
  name: "step_log_insert",
  text: `INSERT INTO step_logs (run_id, step, level, time, message, "offset")
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::bigint[])`,
};

/** What lies past the first half and before the last half of what was printed. */
const MIDDLE = `run_id = $1 AND step = $2 AND "offset" >= $3 AND "offset" < $4`;

/** The first line of the middle says what happened to the others: it stands where they stood. */
const MARK = {
  name: "step_log_mark",
  text: `UPDATE step_logs SET level = 'warn', message = $5, "offset" = $3 - 1
         WHERE id = (SELECT id FROM step_logs WHERE ${MIDDLE} ORDER BY id LIMIT 1)
           AND NOT EXISTS (SELECT FROM step_logs
             WHERE run_id = $1 AND step = $2 AND "offset" = $3 - 1 AND message = $5)`,
};

const CUT = { name: "step_log_cut", text: `DELETE FROM step_logs WHERE ${MIDDLE}` };

const MARK_TEXT = `... the middle of this log was cut: more than ${CAPACITY_BYTES / 1024 / 1024} MiB were printed ...`;

/** Writes what the steps of one run print, in batches, as the attempt that still has the lease. */
export class StepLog {
  readonly #runId: string;
  readonly #write: (work: (tx: Sql) => Promise<void>) => Promise<void>;
  readonly #logger: Logger;
  readonly #timer: NodeJS.Timeout;
  /** Bytes by step; null until the first write has asked what earlier attempts printed. */
  #printed: ReadonlyMap<string, number> | null = null;
  #waiting: Line[] = [];
  #flushing: Promise<void> = Promise.resolve();

  constructor(runId: string, write: (work: (tx: Sql) => Promise<void>) => Promise<void>, logger: Logger) {
    this.#runId = runId;
    this.#write = write;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS);
  }

  line(step: string, level: LogLevel, message: string): void {
    const short = message.length > MAX_LINE ? `${message.slice(0, MAX_LINE)} ...` : message;
    // PostgreSQL's text holds no NUL.
    const text = short.replaceAll("\0", "\ufffd");
    this.#waiting.push({ step, level, time: new Date(), message: text, bytes: Buffer.byteLength(text) + 1 });
  }

  /** Writes what waits. Never rejects: a log line is not worth a run. */
  flush(): Promise<void> {
    const lines = this.#waiting;
    if (lines.length === 0) return this.#flushing;
    this.#waiting = [];
    this.#flushing = this.#flushing
      .then(() => this.#insert(lines))
      .catch((error: unknown) => this.#logger.debug({ err: error }, "log lines could not be written"));
    return this.#flushing;
  }

  async #insert(lines: readonly Line[]): Promise<void> {
    let printed = new Map<string, number>();
    await this.#write(async (tx) => {
      printed = new Map(this.#printed ?? (await this.#printedBefore(tx)));
      const offsets = lines.map(({ step, bytes }) => {
        const offset = printed.get(step) ?? 0;
        printed.set(step, offset + bytes);
        return offset;
      });
      await tx.run(INSERT, [
        this.#runId,
        lines.map((line) => line.step),
        lines.map((line) => line.level),
        lines.map((line) => line.time),
        lines.map((line) => line.message),
        offsets,
      ]);
      for (const step of new Set(lines.map((line) => line.step))) {
        await this.#cutMiddle(tx, step, (printed.get(step) ?? 0) - HALF);
      }
    });
    this.#printed = printed;
  }

  async #printedBefore(tx: Sql): Promise<ReadonlyMap<string, number>> {
    const rows = await tx.rows<{ step: string; bytes: number }>(PRINTED, [this.#runId]);
    return new Map(rows.map(({ step, bytes }) => [step, bytes]));
  }

  async #cutMiddle(tx: Sql, step: string, end: number): Promise<void> {
    if (end <= HALF) return;
    await tx.run(MARK, [this.#runId, step, HALF, end, MARK_TEXT]);
    await tx.run(CUT, [this.#runId, step, HALF, end]);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }
}
