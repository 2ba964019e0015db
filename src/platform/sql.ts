import pg from "pg";
import type { Logger } from "./logger.js";

/** A statement with a name is prepared once per connection. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** Runs statements: the pool itself, or one transaction on it. */
export interface Sql {
  /** Rows of a statement; a plain string is not prepared. */
  rows<R extends object>(statement: Statement | string, values?: readonly unknown[]): Promise<R[]>;
  /** How many rows a statement changed. */
  run(statement: Statement | string, values?: readonly unknown[]): Promise<number>;
}

class Runner implements Sql {
  readonly #queryable: pg.Pool | pg.PoolClient;

  constructor(queryable: pg.Pool | pg.PoolClient) {
    this.#queryable = queryable;
  }

  async rows<R extends object>(statement: Statement | string, values: readonly unknown[] = []): Promise<R[]> {
    return (await this.#query<R>(statement, values)).rows;
  }

  async run(statement: Statement | string, values: readonly unknown[] = []): Promise<number> {
    return (await this.#query(statement, values)).rowCount ?? 0;
  }

  #query<R extends object>(
    statement: Statement | string,
    values: readonly unknown[],
  ): Promise<pg.QueryResult<R>> {
    const config =
      typeof statement === "string" ? { text: statement } : { name: statement.name, text: statement.text };
    return this.#queryable.query<R>({ ...config, values: [...values] });
  }
}

/** The control plane's database for prepared statements and for transactions that start work. */
export class Database extends Runner {
  readonly pool: pg.Pool;

  constructor(databaseUrl: string, poolSize: number, logger: Logger) {
    const pool = new pg.Pool({
      connectionString: databaseUrl,
      max: poolSize,
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
    });
    // An idle connection that breaks is replaced by the pool; unheard, the event would end the process.
    pool.on("error", (error) => logger.warn({ err: error }, "an idle database connection broke"));
    super(pool);
    this.pool = pool;
  }

  /** Commits when `work` resolves, rolls back when it rejects; a connection in doubt is thrown away. */
  async transaction<T>(work: (tx: Sql) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    let broken = false;
    try {
      await client.query("BEGIN");
      const result = await work(new Runner(client));
      await client.query("COMMIT");
      return result;
    } catch (error) {
      await client.query("ROLLBACK").catch(() => {
        broken = true;
      });
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}

/** SQLSTATE classes and codes of a server that goes away or comes back (https://www.postgresql.org/docs/18/errcodes-appendix.html). */
const TRANSIENT_SQLSTATE = /^(08...|57P0[123]|40001|40P01|53300)$/;
const TRANSIENT_SOCKET: ReadonlySet<string> = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT"]);

/** Whether a statement failed because the database was away for a moment: the same may work soon. */
export function isDatabaseAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = "code" in error ? String(error.code) : "";
  if (TRANSIENT_SQLSTATE.test(code) || TRANSIENT_SOCKET.has(code)) return true;
  return /Connection terminated|connection timeout|server closed the connection|Can't reach database server/i.test(error.message);
}
