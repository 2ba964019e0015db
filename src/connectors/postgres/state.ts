import { ConnectorError, type Fence, FencedError, type StreamResult } from "../connector.js";
import type { Session } from "./client.js";
import { qualified, quote, STATE_TABLE, stagingPrefix } from "./names.js";

/** A table that a job made, as it left it. */
export interface OwnedTable {
  readonly oid: number;
  readonly columns: readonly string[];
  readonly primaryKey: readonly string[];
}

/** What the state table says of a job. */
export interface JobState {
  readonly run: number;
  readonly attempt: number;
  readonly committedRun: number | null;
  readonly results: Readonly<Record<string, StreamResult>>;
  /** By name; of all runs so far. */
  readonly tables: Readonly<Record<string, OwnedTable>>;
}

const COLUMNS = `run, attempt, committed_run AS "committedRun", results, tables`;

/**
 * The table `_gatehouse_state` of a destination's schema: one row per job with its newest writer, what its last
 * commit was and which tables are its own. It changes in the same transaction as the tables.
 */
export class StateTable {
  readonly #session: Session;
  readonly #schema: string;
  readonly #fence: Fence;
  readonly #table: string;

  constructor(session: Session, schema: string, fence: Fence) {
    this.#session = session;
    this.#schema = schema;
    this.#fence = fence;
    this.#table = qualified(schema, STATE_TABLE);
  }

  /**
   * Takes the destination for (run, attempt) and removes what older attempts staged, in one transaction: while
   * the row is locked no newer attempt can have come and staged anything.
   */
  async take(): Promise<JobState> {
    return this.#session.transaction(async () => {
      await makeStateTable(this.#session, this.#schema);
      const { jobId, run, attempt } = this.#fence;
      const [state] = await this.#session.rows<JobState>(
        `INSERT INTO ${this.#table} AS mine (job_id, run, attempt) VALUES ($1, $2, $3)
         ON CONFLICT (job_id) DO UPDATE SET run = excluded.run, attempt = excluded.attempt, updated_at = now()
         WHERE (mine.run, mine.attempt) <= (excluded.run, excluded.attempt)
         RETURNING ${COLUMNS}`,
        [jobId, run, attempt],
      );
      if (state === undefined) throw new FencedError();
      await this.#dropStaging();
      return state;
    });
  }

  async #dropStaging(): Promise<void> {
    const prefix = stagingPrefix(this.#fence.jobId);
    const leftovers = await this.#session.rows<{ name: string }>(
      `SELECT relname AS name FROM pg_class
       WHERE relnamespace = $1::text::regnamespace AND relkind = 'r' AND left(relname, length($2)) = $2`,
      [quote(this.#schema), prefix],
    );
    for (const { name } of leftovers) {
      await this.#session.run(`DROP TABLE IF EXISTS ${qualified(this.#schema, name)}`);
    }
  }

  /**
   * The state while this is the newest writer, else FencedError. With a lock it stays true until the end of the
   * transaction: FOR SHARE keeps newer writers out, FOR UPDATE other transactions of this one as well.
   */
  async verify(lock: "" | "FOR SHARE" | "FOR UPDATE"): Promise<JobState> {
    const [state] = await this.#session.rows<JobState>(
      `SELECT ${COLUMNS} FROM ${this.#table} WHERE job_id = $1 ${lock}`,
      [this.#fence.jobId],
    );
    const { run, attempt } = this.#fence;
    if (state === undefined || state.run !== run || state.attempt !== attempt) throw new FencedError();
    return state;
  }

  /** Records the commit of this run. */
  async save(
    results: Readonly<Record<string, StreamResult>>,
    tables: Readonly<Record<string, OwnedTable>>,
  ): Promise<void> {
    await this.#session.rows(
      `UPDATE ${this.#table} SET committed_run = run, results = $2, tables = $3, updated_at = now()
       WHERE job_id = $1`,
      [this.#fence.jobId, JSON.stringify(results), JSON.stringify(tables)],
    );
  }

  /** Another job that made this very table. */
  async otherOwner(table: string, oid: number): Promise<string | undefined> {
    const [other] = await this.#session.rows<{ job: string }>(
      `SELECT job_id::text AS job FROM ${this.#table}
       WHERE job_id <> $1 AND (tables -> $2 ->> 'oid')::bigint = $3 LIMIT 1`,
      [this.#fence.jobId, table, oid],
    );
    return other?.job;
  }
}

/** Makes the schema and the state table where they are missing; within a transaction. */
export async function makeStateTable(session: Session, schema: string): Promise<void> {
  // IF NOT EXISTS is no protection against another session that makes the same at the same time.
  await session.rows("SELECT pg_advisory_xact_lock(hashtext('gatehouse'), hashtext($1))", [schema]);
  await makeSchema(session, schema);
  await session.run(`
    CREATE TABLE IF NOT EXISTS ${qualified(schema, STATE_TABLE)} (
      job_id uuid PRIMARY KEY,
      run integer NOT NULL,
      attempt integer NOT NULL,
      committed_run integer,
      results jsonb NOT NULL DEFAULT '{}',
      tables jsonb NOT NULL DEFAULT '{}',
      updated_at timestamptz NOT NULL DEFAULT now()
    )`);
}

async function makeSchema(session: Session, schema: string): Promise<void> {
  const [known] = await session.rows<{ create: boolean }>(
    "SELECT has_schema_privilege(oid, 'CREATE') AS create FROM pg_namespace WHERE nspname = $1",
    [schema],
  );
  // Asked first, because CREATE SCHEMA IF NOT EXISTS needs its privilege even where the schema exists.
  if (known === undefined) await session.run(`CREATE SCHEMA ${quote(schema)}`);
  else if (!known.create) {
    throw new ConnectorError("unauthorized", `the user may not create tables in the schema ${schema}`);
  }
}
