import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DatabaseServer } from "./database-server.js";

/** Rows by stream: what a destination has to hold. */
export type Content = Readonly<Record<string, readonly string[]>>;

/** Where jobs read from: a database, one that takes its time, and a folder of files. */
export type Source = "database" | "slow-database" | "files";

const COLUMNS = "id, name, amount";
/** When the transaction that reads has begun, in milliseconds by the server's clock: one value for all of a read, and no other has it. */
const READ_AT = "round(extract(epoch FROM transaction_timestamp()) * 1000)::bigint AS read_at";
/** What stands for that at the end of a row. */
export const READ = ",read";
const ROWS = { people: 3_000, orders: 2_000, slow: 300 } as const;
/** Of the slow stream: long enough to be killed in its midst. */
const SLOW_SECONDS = 2.5;

function lines(name: string, rows: number, end = ""): string[] {
  return Array.from(
    { length: rows },
    (_, i) => `${i + 1},${name} ${i + 1},${((i + 1) / 100).toFixed(2)}${end}`,
  );
}

export const CONTENT: Readonly<Record<Source, Content>> = {
  database: { orders: lines("orders", ROWS.orders, READ), people: lines("people", ROWS.people, READ) },
  "slow-database": { first: lines("first", 100), slow: lines("slow", ROWS.slow, READ) },
  files: { orders: lines("orders", ROWS.orders), people: lines("people", ROWS.people) },
};

/** Makes the sources, with what `CONTENT` says. */
export async function makeSources(server: DatabaseServer, filesRoot: string): Promise<void> {
  for (const source of ["database", "slow-database"] as const) {
    const database = databaseOf(source);
    await server.query("postgres", `CREATE DATABASE ${database}`);
    for (const [stream, rows] of Object.entries(CONTENT[source])) {
      // A table has a primary key, and no column that differs from read to read.
      const make = stream === "first" ? table : stream === "slow" ? slowView : view;
      await server.query(database, make(stream, rows.length));
    }
  }
  await mkdir(join(filesRoot, "in"), { recursive: true });
  for (const [stream, rows] of Object.entries(CONTENT.files)) {
    await writeFile(join(filesRoot, `in/${stream}.csv`), `${["id,name,amount", ...rows].join("\n")}\n`);
  }
}

export function databaseOf(source: "database" | "slow-database"): string {
  return source === "database" ? "source" : "slow_source";
}

function rowsOf(name: string, count: number): string {
  return `SELECT i AS id, '${name} ' || i AS name, (i * 0.01)::numeric(12, 2) AS amount FROM generate_series(1, ${count}) AS i`;
}

function table(name: string, count: number): string {
  return `CREATE TABLE ${name} (id int PRIMARY KEY, name text, amount numeric(12, 2));
    INSERT INTO ${name} (${COLUMNS}) ${rowsOf(name, count)}`;
}

function view(name: string, count: number, id = "id"): string {
  return `CREATE VIEW ${name} AS SELECT ${id} AS id, name, amount, ${READ_AT} FROM (${rowsOf(name, count)}) AS rows`;
}

function slowView(name: string, count: number): string {
  const pause = SLOW_SECONDS / count;
  return `CREATE FUNCTION slowly(i int) RETURNS int LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_sleep(${pause}); RETURN i; END $$;
    ${view(name, count, "slowly(id)")}`;
}
