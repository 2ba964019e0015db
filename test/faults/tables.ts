import pg from "pg";

/** Names the sessions for whose end a load waits. */
const GATE = "gate";
export const ROWS = 20;

/**
 * A table that takes a while to be loaded, row by row, and stands still in that for as long as a gate is held in the
 * same server. Writing to it is not slow: only in a load the database has another name.
 */
const TABLE = `
  CREATE FUNCTION public.passes(n int) RETURNS boolean LANGUAGE plpgsql AS $$
  BEGIN
    IF current_database() = 'app' THEN RETURN true; END IF;
    PERFORM pg_sleep(0.05);
    WHILE EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = '${GATE}') LOOP
      PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
    END LOOP;
    RETURN true;
  END $$;
  CREATE TABLE kept (n int CHECK (public.passes(n)), word text NOT NULL);
  INSERT INTO kept SELECT n, 'old' FROM generate_series(1, ${ROWS}) AS n`;

export async function fillTable(url: string): Promise<void> {
  await withClient(url, (client) => client.query(TABLE));
}

export async function writeWord(url: string, word: "old" | "new"): Promise<void> {
  await withClient(url, (client) => client.query("UPDATE kept SET word = $1", [word]));
}

export async function countTables(url: string): Promise<number> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM pg_tables WHERE schemaname = 'public'",
    );
    return rows[0]?.n ?? -1;
  });
}

/** How many rows hold which word. */
export async function rowsOf(url: string): Promise<Readonly<Record<string, number>>> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ word: string; count: number }>(
      "SELECT word, count(*)::int AS count FROM kept GROUP BY word",
    );
    return Object.fromEntries(rows.map(({ word, count }) => [word, count]));
  });
}

/** Loads into this server stand still until it is called. */
export async function holdLoads(url: string): Promise<() => Promise<void>> {
  const client = await connect(url, GATE);
  return () => client.end();
}

/** Copies of this database stand still until it is called. */
export async function holdCopies(url: string): Promise<() => Promise<void>> {
  const client = await connect(url);
  await client.query("BEGIN");
  await client.query("LOCK TABLE kept IN ACCESS EXCLUSIVE MODE");
  return () => client.end();
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await connect(url);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function connect(url: string, name = "a test"): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: name });
  // Its server is killed.
  client.on("error", () => {});
  await client.connect();
  return client;
}
