import type { Logger } from "./logger.js";
import type { Sql, Statement } from "./sql.js";

/** Who asks more often gets the same again. */
const KEPT_MS = 5_000;
/** A database that answers later than this counts as away. */
const PATIENCE_MS = 2_000;

/** Rows of one statement, asked for at most every few seconds: for metrics. */
export class KeptRows<Row extends object> {
  readonly #sql: Sql;
  readonly #statement: Statement;
  readonly #logger: Logger;
  #known: { readonly since: number; readonly rows: Promise<Row[] | null> } | null = null;

  constructor(sql: Sql, statement: Statement, logger: Logger) {
    this.#sql = sql;
    this.#statement = statement;
    this.#logger = logger;
  }

  /** Null while the database is away. Never rejects. */
  rows(): Promise<Row[] | null> {
    const now = performance.now();
    if (this.#known !== null && now - this.#known.since < KEPT_MS) return this.#known.rows;
    const rows = this.#ask();
    this.#known = { since: now, rows };
    return rows;
  }

  async #ask(): Promise<Row[] | null> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE_MS} ms`)), PATIENCE_MS);
    });
    try {
      return await Promise.race([this.#sql.rows<Row>(this.#statement), late]);
    } catch (error) {
      this.#logger.debug({ err: error, statement: this.#statement.name }, "a measurement failed");
      return null;
    } finally {
      clearTimeout(timer);
    }
  }
}
