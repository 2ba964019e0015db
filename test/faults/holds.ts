import pg from "pg";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";

/** Something that stands still until the test lets it go on. */
export interface Hold {
  /** Waits until so many stand still. */
  reached(count: number): Promise<void>;
  release(): Promise<void>;
  /** The same, and what those who stand still were about to write comes to nothing. */
  drop(): Promise<void>;
}

/** An advisory lock of a database, held by the test: whoever asks for a share of it waits. */
async function holdLock(url: string, key: number): Promise<Hold> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  await client.query("SELECT pg_advisory_lock($1)", [key]);
  return {
    reached: (count) =>
      until(`${count} wait for lock ${key}`, async () => {
        const { rowCount } = await client.query(
          `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
          [key],
        );
        return rowCount === count;
      }).then(() => {}),
    release: () => client.end(),
    drop: async () => {
      await client.query(
        `SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
        [key],
      );
      await client.end();
    },
  };
}

const GATE = 7001;
const LEDGER = 7002;

/** A source whose only stream stands still in its midst while the gate is held. */
export interface GatedSource {
  readonly database: TestDatabase;
  readonly rows: number;
  /** Closes the gate: whoever reads comes as far as the middle. */
  hold(): Promise<Hold>;
}

export async function createGatedSource(rows: number): Promise<GatedSource> {
  const database = await createDatabase({ empty: true });
  await database.query(`
    CREATE FUNCTION through_the_gate(i int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
      IF i = ${Math.floor(rows / 2)} THEN
        PERFORM pg_advisory_lock_shared(${GATE}), pg_advisory_unlock_shared(${GATE});
      END IF;
      RETURN i;
    END $$`);
  await database.query(`
    CREATE VIEW gated AS
    SELECT through_the_gate(i) AS id, 'name ' || i AS name, (i * 0.01)::numeric(12, 2) AS amount
    FROM generate_series(1, ${rows}) AS i`);
  return { database, rows, hold: () => holdLock(database.url, GATE) };
}

/** Moments of a first attempt, told from what it writes to the ledger. */
const MOMENTS = {
  "before copying": `NEW.steps @> '[{"name": "copy", "status": "running"}]'`,
  "before the commit": `NEW.steps @> '[{"name": "commit", "status": "running"}]'`,
  "after the commit": `NEW.steps @> '[{"name": "commit", "status": "succeeded"}]'`,
  "after a first start": `NEW.operation_type = 'deployment.create' AND NEW.steps @> '[{"name": "start", "status": "succeeded"}]'`,
  "after a load": `NEW.steps @> '[{"name": "load", "status": "succeeded"}]'`,
  "before a removal": `NEW.steps @> '[{"name": "remove", "status": "running"}]'`,
} as const;

export type Moment = keyof typeof MOMENTS;

/**
 * Makes first attempts stand still at any of these moments: their write to the ledger waits within the database, each by
 * itself. What a worker writes for several of them leaves them out, as it does where somebody holds the row.
 */
export async function holdLedger(database: TestDatabase, ...moments: readonly Moment[]): Promise<Hold> {
  const moment = moments.map((name) => `(${MOMENTS[name]})`).join(" OR ");
  await database.query(`
    CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.attempt = 1 AND NEW.steps IS DISTINCT FROM OLD.steps AND (${moment}) THEN
        IF current_query() LIKE '%SKIP LOCKED%' THEN RETURN NULL; END IF;
        PERFORM pg_advisory_xact_lock_shared(${LEDGER});
      END IF;
      RETURN NEW;
    END $$`);
  await database.query(`
    CREATE OR REPLACE TRIGGER hold BEFORE UPDATE ON operations FOR EACH ROW EXECUTE FUNCTION hold()`);
  return holdLock(database.url, LEDGER);
}
