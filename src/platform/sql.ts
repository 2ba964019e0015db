import pg from "pg";
import type { Logger } from "./logger.js";

/** A statement with a name is prepared once per connection. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** A condition that holds, for a statement whose loss in a crash of the server does no harm: it waits for no disk. */
export const UNHURRIED = "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL";

/** Runs statements: the pool itself, or one transaction on it. */
export interface Sql {
  /** Rows of a statement; a plain string is not prepared. */
  rows<R extends object>(statement: Statement | string, values?: readonly unknown[]): Promise<R[]>;
  /** How many rows a statement changed. */
  run(statement: Statement | string, values?: readonly unknown[]): Promise<number>;
  /**
   * Calls the listener, which must not throw, when what was written is there: with the commit of the transaction,
   * never where it is rolled back; at once outside of one.
   */
  afterCommit(listener: () => void): void;
}

/** The time by the database's clock: the processes' clocks may differ. */
export async function databaseNow(sql: Sql): Promise<Date> {
  const [row] = await sql.rows<{ now: Date }>("SELECT clock_timestamp() AS now");
  if (row === undefined) throw new Error("a clock that says nothing");
  return row.now;
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

  afterCommit(listener: () => void): void {
    listener();
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

/** Statements of one transaction. */
export class Transaction extends Runner {
  readonly #listeners: (() => void)[] = [];

  /** Work that is taken back alone where it rejects, unless the whole transaction is lost; rejects all the same. */
  async part<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#listeners.length;
    await this.run("SAVEPOINT part");
    try {
      return await work();
    } catch (error) {
      if (!isDatabaseAway(error)) {
        await this.run("ROLLBACK TO SAVEPOINT part");
        this.#listeners.length = before;
      }
      throw error;
    }
  }

  override afterCommit(listener: () => void): void {
    this.#listeners.push(listener);
  }

  committed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/**
 * A process that stops in the midst of a transaction (SIGSTOP, a machine that is gone) must not keep its locks:
 * the server ends its session. Less than a lease, so that the lock on an operation's row delays no successor.
 */
const IDLE_IN_TRANSACTION_MS = 5_000;
/** A server that is not reached, or not answering, within this is away, whatever the network makes of it. */
export const CONNECT_LIMIT_MS = 10_000;
export const ANSWER_LIMIT_MS = 30_000;

/**
 * Every statement finds few rows, by an index. A connection plans each once: one that is planned while the table is
 * still empty would read all of it for ever. Servers before 18 take what has no index for so dear that they compile it.
 */
const PLANS = "-c enable_seqscan=off -c jit=off";

/**
 * Keeps the process alive when a connection of the pool breaks, whoever has it: its statements say so. From the very first
 * on: what a server says as soon as a connection is there may come before anybody else listens.
 * @param onIdle hears of connections that break while nobody has them; the pool replaces them
 */
export function outliveConnections(pool: pg.Pool, onIdle: (error: Error) => void = () => {}): pg.Pool {
  pool.on("error", onIdle);
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}

/** The control plane's database for prepared statements and for transactions that start work. */
export class Database extends Runner {
  readonly pool: pg.Pool;

  constructor(databaseUrl: string, poolSize: number, logger: Logger, answerLimitMs = ANSWER_LIMIT_MS) {
    const pool = new pg.Pool({
      connectionString: databaseUrl,
      max: poolSize,
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      query_timeout: answerLimitMs,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
      options: PLANS,
      keepAlive: true,
    });
    outliveConnections(pool, (error) => logger.warn({ err: error }, "an idle database connection broke"));
    super(pool);
    this.pool = pool;
  }

  /** Commits when `work` resolves, rolls back when it rejects; a connection in doubt is thrown away. */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    let broken = false;
    const onError = (): void => {
      broken = true;
    };
    client.on("error", onError);
    try {
      await client.query("BEGIN");
      const transaction = new Transaction(client);
      const result = await work(transaction);
      await client.query("COMMIT");
      transaction.committed();
      return result;
    } catch (error) {
      // A server that says nothing would not answer this either.
      if (isDatabaseAway(error)) broken = true;
      else {
        await client.query("ROLLBACK").catch(() => {
          broken = true;
        });
      }
      throw error;
    } finally {
      client.off("error", onError);
      client.release(broken);
    }
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}

/**
 * JSON for a column of type jsonb, which refuses what JSON allows in strings: NUL and halves of surrogate pairs
 * (https://www.postgresql.org/docs/18/datatype-json.html). Both come with other people's data, in messages and
 * names; the replacement character stands for them.
 */
export function toJsonb(value: unknown): string {
  // An escaped backslash is matched first, so that what follows it is not taken for an escape.
  return JSON.stringify(value).replace(/\\(?:\\|u0000|ud[89a-f][0-9a-f]{2})/g, (sequence) =>
    sequence === "\\\\" ? sequence : "\ufffd",
  );
}

/** SQLSTATE classes and codes of a server that goes away or comes back (https://www.postgresql.org/docs/18/errcodes-appendix.html). */
const TRANSIENT_SQLSTATE = /^(08...|57P0[123]|25P03|40001|40P01|53300)$/;
const TRANSIENT_SOCKET: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);
/** What Prisma's adapter makes of them (`MappedError` of @prisma/driver-adapter-utils). */
const TRANSIENT_KIND: ReadonlySet<string> = new Set([
  "ConnectionClosed",
  "DatabaseNotReachable",
  "SocketTimeout",
  "TooManyConnections",
]);
/** Prisma's own: not reached, closed, no free connection, a transaction that took too long or had to give way. */
const TRANSIENT_PRISMA = /^P(1001|1002|1008|1017|2024|2028|2034)$/;
/** Of pg and pg-pool, which give these no code; the last in a process that has closed its own. */
const TRANSIENT_MESSAGE =
  /Connection terminated|timeout exceeded when trying to connect|connection timeout|query read timeout|is not queryable|after calling end on the pool/i;

/** Whether a statement failed because a lock was not to be had in time (SQLSTATE lock_not_available). */
export function isLockTimeout(error: unknown): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === "55P03";
}

/** Whether a statement failed because the database was away for a moment: the same may work soon. */
export function isDatabaseAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, meta } = error as { code?: unknown; meta?: PrismaMeta };
  if (isTransient(code)) return true;
  // Prisma's client wraps what its adapter throws, but not what that throws at the end of a transaction.
  const cause = (error.name === "DriverAdapterError" ? (error as AdapterError) : meta?.driverAdapterError)
    ?.cause;
  if (cause !== undefined) return TRANSIENT_KIND.has(String(cause.kind)) || isTransient(cause.originalCode);
  return TRANSIENT_MESSAGE.test(error.message);
}

interface AdapterError {
  readonly cause?: { readonly kind?: unknown; readonly originalCode?: unknown };
}

interface PrismaMeta {
  readonly driverAdapterError?: AdapterError;
}

function isTransient(code: unknown): boolean {
  if (typeof code !== "string") return false;
  return TRANSIENT_SQLSTATE.test(code) || TRANSIENT_SOCKET.has(code) || TRANSIENT_PRISMA.test(code);
}
