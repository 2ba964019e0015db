import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { DatabaseServer } from "./database-server.js";
import { type Content, READ } from "./sources.js";

const WAREHOUSE = "warehouse";

/** What a job's destination looks like from outside. */
export interface Found {
  /** Rows by stream, in the order of their ids; null: nothing was ever put there. */
  readonly content: Content | null;
  /** When that was read at its source, where the rows say so: of one read it is one time. */
  readonly reads: readonly number[];
  /** Numbers of the runs that took effect here, once for each time. */
  readonly effects: readonly number[];
  /** Written aside and left behind. */
  readonly leftovers: readonly string[];
}

/**
 * Makes the database that jobs write to. It counts effects by itself: each commit of a run leaves a row in `effects`,
 * written by a trigger in the very transaction that puts tables in place.
 */
export async function makeWarehouse(server: DatabaseServer): Promise<void> {
  await server.query("postgres", `CREATE DATABASE ${WAREHOUSE}`);
  await server.query(
    WAREHOUSE,
    `CREATE TABLE effects (job_id uuid, run int, at timestamptz DEFAULT clock_timestamp());
     CREATE FUNCTION count_effect() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
       INSERT INTO public.effects (job_id, run) VALUES (NEW.job_id, NEW.committed_run);
       RETURN NULL;
     END $$;
     CREATE FUNCTION watch_state() RETURNS event_trigger LANGUAGE plpgsql AS $$
     DECLARE made record;
     BEGIN
       FOR made IN SELECT * FROM pg_event_trigger_ddl_commands()
                   WHERE command_tag = 'CREATE TABLE' AND object_identity LIKE '%.\\_gatehouse\\_state' LOOP
         EXECUTE format('CREATE OR REPLACE TRIGGER count_effect AFTER UPDATE OF committed_run ON %s
                         FOR EACH ROW EXECUTE FUNCTION public.count_effect()', made.object_identity);
       END LOOP;
     END $$;
     CREATE EVENT TRIGGER watch_state ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
       EXECUTE FUNCTION watch_state()`,
  );
}

export const warehouseName = WAREHOUSE;

/** A job's schema in the warehouse. */
export async function lookAtSchema(server: DatabaseServer, schema: string, jobId: string): Promise<Found> {
  const tables = await server.query<{ name: string }>(
    WAREHOUSE,
    "SELECT tablename AS name FROM pg_tables WHERE schemaname = $1 ORDER BY 1",
    [schema],
  );
  const names = tables.map(({ name }) => name);
  const own = names.filter((name) => !name.startsWith("_gatehouse"));
  const lines: Record<string, string[]> = {};
  for (const name of own) {
    const rows = await server.query<{ line: string }>(
      WAREHOUSE,
      `SELECT concat_ws(',', id, name, to_char(amount, 'FM9999990.00'), to_jsonb(own) ->> 'read_at') AS line
       FROM ${schema}.${name} AS own ORDER BY id`,
    );
    lines[name] = rows.map(({ line }) => line);
  }
  const effects = await server.query<{ run: number }>(
    WAREHOUSE,
    "SELECT run FROM effects WHERE job_id = $1 ORDER BY at",
    [jobId],
  );
  return {
    ...readOf(lines),
    effects: effects.map(({ run }) => run),
    leftovers: names.filter((name) => name.startsWith("_gatehouse") && name !== "_gatehouse_state"),
  };
}

/** A job's folder below the files root. Of the runs that took effect only the last one can be told. */
export async function lookAtFolder(path: string, jobId: string): Promise<Found> {
  const lines: Record<string, string[]> = {};
  const names = (await readdir(path).catch(() => [])).filter((name) => !name.startsWith("."));
  for (const name of names.sort()) {
    const text = await readFile(join(path, name), "utf8");
    lines[name.replace(/\.csv$/, "")] = text.trimEnd().split("\n").slice(1).sort(byId);
  }
  const own = join(path, ".gatehouse", jobId);
  const kept = await readdir(own, { recursive: true }).catch(() => []);
  const records = kept.flatMap((name) => /^commit-r(\d+)\.json$/.exec(name)?.[1] ?? []);
  // An empty work folder is the fence against a writer that wakes up late: it stays.
  const leftovers = kept.filter((name) => !/^commit-r\d+\.json$/.test(name) && !/^r\d+a\d+$/.test(name));
  return {
    ...readOf(lines),
    effects: records.map(Number).sort((a, b) => a - b),
    leftovers,
  };
}

/** Tells apart what rows say and when they were read. */
function readOf(lines: Readonly<Record<string, string[]>>): Pick<Found, "content" | "reads"> {
  const reads = new Set<number>();
  const note = (time: string): string => {
    reads.add(Number(time.slice(1)));
    return READ;
  };
  const streams = Object.entries(lines).map(([name, rows]) => [
    name,
    rows.map((row) => row.replace(/,\d{13}$/, note)),
  ]);
  return { content: streams.length === 0 ? null : Object.fromEntries(streams), reads: [...reads] };
}

function byId(a: string, b: string): number {
  return Number.parseInt(a, 10) - Number.parseInt(b, 10);
}
