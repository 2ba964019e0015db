import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { MasterKey } from "../../src/platform/crypto.js";
import type { TestBackend } from "../support/backends.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { type Installation, openInstallation } from "../support/installation.js";
import { type ProcessEnv, startWorkerOf, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";
import { createGatedSource, type GatedSource } from "./holds.js";

/** Rows of the gated source, and of the file. */
export const ROWS = { gated: 60_000, file: 150_000 } as const;

/** A job of each kind, from source to destination. */
export type Route = "postgres to postgres" | "postgres to file" | "file to postgres";
export const ROUTES: readonly Route[] = ["postgres to postgres", "postgres to file", "file to postgres"];

/** An api in this process, workers in processes of their own, and real stores. */
export interface FaultBench {
  readonly installation: Installation;
  readonly source: GatedSource;
  readonly destination: TestDatabase;
  startWorker(env?: ProcessEnv): Promise<TestProcess>;
  /** Starts a run of a route's job; the operation's id. */
  sync(route: Route): Promise<string>;
  /** Waits until operations have succeeded; milliseconds that it took. */
  succeeded(ids: readonly string[], timeoutMs?: number): Promise<number>;
  /** Throws where a route's destination does not hold exactly the rows of its source, or anything besides. */
  check(route: Route): Promise<void>;
  /** Everything that a late writer could have changed: ledger, runs, steps, logs, tables and files. */
  everything(): Promise<unknown>;
  /** What users see of the destinations: their tables and files, without what is written aside. */
  visible(): Promise<unknown>;
  close(): Promise<void>;
}

export async function openFaultBench(backend: TestBackend): Promise<FaultBench> {
  const masterKey = MasterKey.generate();
  const installation = await openInstallation({
    ...(backend.redis === null ? {} : { redisUrl: backend.redis.url }),
    worker: false,
    env: { GATEHOUSE_MASTER_KEY: masterKey },
  });
  const source = await createGatedSource(ROWS.gated);
  const destination = await createDatabase({ empty: true });
  await installation.putFile("in/people.csv", csvOf(ROWS.file));
  const jobs = new Map<Route, number>();
  for (const route of ROUTES) jobs.set(route, await createJob(installation, route, source, destination));

  const states = async (ids: readonly string[]) =>
    installation.database.query<{ id: string; status: string; error: unknown }>(
      "SELECT id, status, error FROM operations WHERE id = ANY ($1)",
      [ids],
    );
  return {
    ...{ installation, source, destination },
    startWorker: (env = {}) => startWorkerOf(installation, masterKey, { ...backend.env, ...env }),
    async sync(route) {
      const answer = await installation.call("POST", `/api/v1/project/1/jobs/${jobs.get(route)}/sync`);
      const location = answer.headers["operation-location"];
      if (typeof location !== "string") throw new Error(`not accepted: ${answer.text}`);
      return location.split("/").at(-1) ?? "";
    },
    async succeeded(ids, timeoutMs) {
      const started = performance.now();
      await until(
        "all operations have succeeded",
        async () => {
          const found = await states(ids);
          const bad = found.find(({ status }) => status === "failed" || status === "cancelled");
          if (bad !== undefined)
            throw new Error(`operation ${bad.id} ${bad.status}: ${JSON.stringify(bad.error)}`);
          return found.every(({ status }) => status === "succeeded");
        },
        timeoutMs,
      );
      return performance.now() - started;
    },
    check: (route) => check(route, { installation, source, destination }),
    everything: async () => [
      await ledgerOf(installation.database),
      await tablesOf(destination),
      await filesIn(join(installation.filesRoot, "out")),
    ],
    visible: async () => [
      (await tablesOf(destination)).filter(({ name }) => !name.includes("_gatehouse")),
      (await filesIn(join(installation.filesRoot, "out"))).filter((file) => !file.includes("/.gatehouse")),
    ],
    async close() {
      await installation.close();
      await source.database.drop();
      await destination.drop();
    },
  };
}

function csvOf(rows: number): string {
  const lines = ["id,name,amount"];
  for (let i = 1; i <= rows; i++) lines.push(`${i},name ${i},${(i / 100).toFixed(2)}`);
  return `${lines.join("\n")}\n`;
}

/** A connection to a database, as the project API configures it. */
export function connectTo({ url }: TestDatabase, extra: object): object {
  const { hostname, port, pathname, username, password } = new URL(url);
  const database = pathname.slice(1);
  const config = { host: hostname, port: Number(port), database, username, password, ...extra };
  return { type: "postgres", version: "1.0.0", config };
}

async function createJob(
  installation: Installation,
  route: Route,
  source: GatedSource,
  destination: TestDatabase,
): Promise<number> {
  const file = (path: string) => ({ type: "file", version: "1.0.0", config: { path } });
  const [from, to] = route.split(" to ");
  const ends = {
    source: from === "file" ? file("in/people.csv") : connectTo(source.database, {}),
    destination: to === "file" ? file("out") : connectTo(destination, { schema: from }),
  };
  const answer = await installation.call<{ data: { id: number } }>("POST", "/api/v1/project/1/jobs", {
    body: {
      name: route,
      source: { name: `from ${route}`, ...ends.source },
      destination: { name: `to ${route}`, ...ends.destination },
      frequency: "",
      streams_config: {},
    },
  });
  if (answer.status !== 200) throw new Error(`no job: ${answer.text}`);
  return answer.body.data.id;
}

interface Stores {
  readonly installation: Installation;
  readonly source: GatedSource;
  readonly destination: TestDatabase;
}

async function check(route: Route, { installation, destination }: Stores): Promise<void> {
  const rows = route === "file to postgres" ? ROWS.file : ROWS.gated;
  const found = route === "postgres to file" ? await inFile(installation) : await inTable(route, destination);
  const wrong = found.find((line, i) => line !== expectedLine(i + 1));
  if (wrong !== undefined) throw new Error(`${route}: not as in the source: ${wrong}`);
  if (found.length !== rows) throw new Error(`${route}: ${found.length} rows instead of ${rows}`);
}

function expectedLine(i: number): string {
  return `${i},name ${i},${(i / 100).toFixed(2)}`;
}

async function inFile({ filesRoot }: Installation): Promise<string[]> {
  const names = (await readdir(join(filesRoot, "out"))).filter((name) => !name.startsWith("."));
  if (names.join() !== "gated.csv") throw new Error(`files besides: ${names.join(", ")}`);
  const lines = (await readFile(join(filesRoot, "out/gated.csv"), "utf8")).trimEnd().split("\n");
  return lines.slice(1).sort(byId);
}

function byId(a: string, b: string): number {
  return Number.parseInt(a, 10) - Number.parseInt(b, 10);
}

async function inTable(route: Route, destination: TestDatabase): Promise<string[]> {
  const [schema, table] = route === "file to postgres" ? ["file", "people"] : ["postgres", "gated"];
  const tables = await destination.query<{ name: string }>(
    "SELECT relname AS name FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind = 'r' ORDER BY 1",
    [schema],
  );
  const names = tables.map(({ name }) => name).join();
  if (names !== `_gatehouse_state,${table}`) throw new Error(`tables besides: ${names}`);
  const rows = await destination.query<{ line: string }>(
    `SELECT id || ',' || name || ',' || to_char(amount, 'FM9999990.00') AS line FROM ${schema}.${table} ORDER BY id`,
  );
  return rows.map(({ line }) => line);
}

async function ledgerOf(database: TestDatabase): Promise<unknown> {
  const ledger = [];
  for (const table of ["operations", "operation_locks", "runs", "steps", "step_logs", "jobs"]) {
    ledger.push(await database.query(`SELECT t::text AS row FROM ${table} t ORDER BY 1`));
  }
  return ledger;
}

async function tablesOf(destination: TestDatabase): Promise<{ name: string; content: unknown }[]> {
  const tables = await destination.query<{ name: string }>(
    `SELECT c.oid::regclass::text AS name FROM pg_class c WHERE c.relkind = 'r'
       AND c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('file', 'postgres')) ORDER BY 1`,
  );
  const found = [];
  for (const { name } of tables) {
    const [content] = await destination.query(
      `SELECT '${name}'::regclass::oid AS oid, count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM ${name} t`,
    );
    found.push({ name, content });
  }
  return found;
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.map(async (entry) => {
    const path = join(entry.parentPath, entry.name);
    return `${path} ${entry.isFile() ? await readFile(path, "base64") : ""}`;
  });
  return (await Promise.all(files)).sort();
}
