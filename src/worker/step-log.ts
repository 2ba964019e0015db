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
  readonly offset: number;
}

const INSERT = {
  name: "step_log_insert",
  text: `INSERT INTO step_logs (run_id, step, level, time, message, "offset")
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::bigint[])`,
};

/** The middle goes: what lies past the first half and before the last half of what was printed. */
const CUT = {
  name: "step_log_cut",
  text: `DELETE FROM step_logs WHERE run_id = $1 AND step = $2 AND "offset" >= $3 AND "offset" < $4`,
};

const MARK = `... the middle of this log was cut: more than ${CAPACITY_BYTES / 1024 / 1024} MiB were printed ...`;

/** Writes what the steps of one run print, in batches, as the attempt that still has the lease. */
export class StepLog {
  readonly #runId: string;
  readonly #write: (work: (tx: Sql) => Promise<void>) => Promise<void>;
  readonly #logger: Logger;
  readonly #printed = new Map<string, number>();
  readonly #cut = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #waiting: Line[] = [];
  #flushing: Promise<void> = Promise.resolve();

  constructor(runId: string, write: (work: (tx: Sql) => Promise<void>) => Promise<void>, logger: Logger) {
    this.#runId = runId;
    this.#write = write;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS);
  }

  line(step: string, level: LogLevel, message: string): void {
    const text = message.length > MAX_LINE ? `${message.slice(0, MAX_LINE)} ...` : message;
    const offset = this.#printed.get(step) ?? 0;
    this.#printed.set(step, offset + Buffer.byteLength(text) + 1);
    // PostgreSQL's text holds no NUL.
    this.#waiting.push({ step, level, time: new Date(), message: text.replaceAll("\0", "�"), offset });
  }

  /** Writes what waits. Never rejects: a log line is not worth a run. */
  flush(): Promise<void> {
    const lines = this.#waiting;
    if (lines.length === 0) return this.#flushing;
    this.#waiting = [];
    this.#flushing = this.#flushing
      .then(() => this.#write((tx) => this.#insert(tx, lines)))
      .catch((error: unknown) => this.#logger.debug({ err: error }, "log lines could not be written"));
    return this.#flushing;
  }

  async #insert(tx: Sql, lines: readonly Line[]): Promise<void> {
    await tx.run(INSERT, [
      this.#runId,
      lines.map((line) => line.step),
      lines.map((line) => line.level),
      lines.map((line) => line.time),
      lines.map((line) => line.message),
      lines.map((line) => line.offset),
    ]);
    for (const [step, printed] of this.#printed) {
      if (printed > CAPACITY_BYTES) await this.#cutMiddle(tx, step, printed);
    }
  }

  async #cutMiddle(tx: Sql, step: string, printed: number): Promise<void> {
    await tx.run(CUT, [this.#runId, step, HALF, printed - HALF]);
    if (this.#cut.has(step)) return;
    this.#cut.add(step);
    await tx.run(INSERT, [this.#runId, [step], ["warn"], [new Date()], [MARK], [HALF - 1]]);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }
}
