import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import { type BuiltServer, build, startBuiltServer } from "../test/acceptance/server.js";
import { peakMemoryMib, workerOf } from "./support/processes.js";
import { type BenchResult, compare, print } from "./support/report.js";

const OPTIONS = { rounds: 5, rows: 1_000_000 };
const MAX_RSS_MIB = 256;
const TARGET = 0.4;
const TABLE = "events";

/** Ten columns of mixed types, as tables have them. */
const COLUMNS = `
  id bigint, customer integer NOT NULL, name text NOT NULL, email text, amount numeric(12, 2) NOT NULL,
  score double precision, active boolean NOT NULL, born date, seen timestamptz NOT NULL, details jsonb`;

const ROWS = `
  SELECT n, n % 50000, 'Customer number ' || n, CASE WHEN n % 7 > 0 THEN 'c' || n || '@example.com' END,
    round((n % 100000) / 7.0, 2), sqrt(n), n % 3 = 0, DATE '1950-01-01' + (n % 20000)::int,
    TIMESTAMPTZ '2020-01-01 00:00:00Z' + n * interval '13 seconds',
    jsonb_build_object('tag', 't' || n % 100, 'values', jsonb_build_array(n % 10, n % 11))
  FROM generate_series(1, $1::bigint) AS n`;

/** A database of a role of its own on the built server's PostgreSQL, with what a connection is configured with. */
interface Store {
  readonly url: string;
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Rows per second of a full refresh from PostgreSQL to PostgreSQL, from the operation's acceptance to its end,
 * against `COPY TO STDOUT` piped into `COPY FROM STDIN` between two plain connections. The plain side has it as easy
 * as can be: its table has no primary key to keep, and is emptied in the same transaction, so that nothing goes
 * to the write-ahead log. Both use the same server and databases; each round begins with a checkpoint.
 */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult> {
  const options = { ...OPTIONS, ...given };
  build();
  const server = await startBuiltServer();
  try {
    const admin = new URL(readFileSync(join(server.home, "postgres/admin-url"), "utf8").trim());
    const source = await makeStore(admin, "bench_source");
    const destination = await makeStore(admin, "bench_destination");
    await query(source.url, `CREATE TABLE ${TABLE} (${COLUMNS}, PRIMARY KEY (id))`);
    await query(source.url, `INSERT INTO ${TABLE} ${ROWS}`, [options.rows]);
    await query(admin.href.replace(/\/postgres$/, "/bench_source"), `VACUUM ANALYZE ${TABLE}`);
    await query(destination.url, `CREATE SCHEMA plain; CREATE TABLE plain.${TABLE} (${COLUMNS})`);
    const sync = await makeSync(server, source, destination);
    return await measure(server, options, admin, {
      gatehouse: async () => {
        const seconds = await sync();
        await expectRows(destination.url, `public.${TABLE}`, options.rows);
        return seconds;
      },
      plain: () => copyPlain(source.url, destination.url, options.rows),
    });
  } finally {
    await server.stop();
  }
}

type Sides = Readonly<Record<"gatehouse" | "plain", () => Promise<number>>>;

async function measure(
  server: BuiltServer,
  { rounds, rows }: typeof OPTIONS,
  admin: URL,
  sides: Sides,
): Promise<BenchResult> {
  const rates: Record<keyof Sides, number[]> = { gatehouse: [], plain: [] };
  for (let round = 0; round <= rounds; round += 1) {
    // Every other round the other way about; the first of each only warms up.
    for (const side of round % 2 === 0
      ? (["plain", "gatehouse"] as const)
      : (["gatehouse", "plain"] as const)) {
      await query(admin.href, "CHECKPOINT");
      const seconds = await sides[side]();
      if (round > 0) rates[side].push(rows / seconds);
    }
  }
  const rss = peakMemoryMib(workerOf(server.pid));
  const result = compare({
    name: "copy",
    unit: "rows/s",
    sides: [
      { name: "gatehouse full refresh", samples: rates.gatehouse },
      { name: "COPY piped into COPY", samples: rates.plain },
    ],
    target: TARGET,
    notes: [
      `${rows.toLocaleString("en-US")} rows of 10 columns; the full refresh makes the primary key too, the plain copy has none`,
      `peak memory of the worker (VmHWM): ${rss.toFixed(0)} MiB (limit ${MAX_RSS_MIB}): ${rss < MAX_RSS_MIB ? "met" : "MISSED"}`,
    ],
  });
  return { ...result, passed: result.passed && rss < MAX_RSS_MIB };
}

async function copyPlain(sourceUrl: string, destinationUrl: string, rows: number): Promise<number> {
  const [reader, writer] = [connection(sourceUrl), connection(destinationUrl)];
  await Promise.all([reader.connect(), writer.connect()]);
  try {
    await writer.query(`BEGIN; TRUNCATE plain.${TABLE}`);
    const start = performance.now();
    const from = reader.query(copyTo(`COPY ${TABLE} TO STDOUT`));
    await pipeline(from, writer.query(copyFrom(`COPY plain.${TABLE} FROM STDIN`)));
    await writer.query("COMMIT");
    const seconds = (performance.now() - start) / 1_000;
    await expectRows(destinationUrl, `plain.${TABLE}`, rows);
    return seconds;
  } finally {
    await Promise.all([reader.end(), writer.end()]);
  }
}

/** Describes the job over HTTP; the function that it gives runs it once and tells its seconds. */
async function makeSync(server: BuiltServer, from: Store, to: Store): Promise<() => Promise<number>> {
  const form = {
    grant_type: "client_credentials",
    client_id: server.clientId,
    client_secret: server.clientSecret,
    audience: "service",
  };
  const token = await call<{ access_token: string }>(`${server.url}/oauth/token`, {
    method: "POST",
    body: new URLSearchParams(form),
  });
  const authorization = `Bearer ${token.body.access_token}`;
  const project = `${server.url}/api/v1/project/default`;
  const end = (name: string, { config }: Store) => ({ name, type: "postgres", version: "1.0.0", config });
  const job = await call<{ data: { id: number } }>(`${project}/jobs`, {
    method: "POST",
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify({
      name: "bench",
      source: end("bench source", from),
      destination: end("bench destination", to),
      streams_config: { streams: [{ name: TABLE, namespace: "public", sync_mode: "full_refresh" }] },
    }),
  });
  return async () => {
    const { headers } = await call(`${project}/jobs/${job.body.data.id}/sync`, {
      method: "POST",
      headers: { authorization },
    });
    return untilDone(`${server.url}${headers.get("operation-location")}`, authorization);
  };
}

interface Operation {
  readonly done: boolean;
  readonly status: string;
  readonly error: unknown;
  readonly createdAt: string;
  readonly finishedAt: string;
}

/** From accept to done by the operation's own times, which are the database's: polling costs no precision. */
async function untilDone(url: string, authorization: string): Promise<number> {
  for (;;) {
    const { body } = await call<Operation>(url, { headers: { authorization } });
    if (body.done) {
      if (body.status !== "succeeded")
        throw new Error(`the sync has ${body.status}: ${JSON.stringify(body.error)}`);
      return (Date.parse(body.finishedAt) - Date.parse(body.createdAt)) / 1_000;
    }
    await delay(250);
  }
}

async function call<T>(url: string, init: RequestInit): Promise<{ headers: Headers; body: T }> {
  const response = await fetch(url, init);
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} was answered with ${response.status}: ${text}`);
  return { headers: response.headers, body: JSON.parse(text) as T };
}

async function makeStore(admin: URL, name: string): Promise<Store> {
  await query(admin.href, `CREATE ROLE ${name} LOGIN PASSWORD '${name}'`);
  await query(admin.href, `CREATE DATABASE ${name} OWNER ${name}`);
  const { hostname: host, port } = admin;
  return {
    url: `postgresql://${name}:${name}@${host}:${port}/${name}`,
    config: { host, port: Number(port), database: name, username: name, password: name },
  };
}

function connection(url: string): pg.Client {
  return new pg.Client({ connectionString: url });
}

async function query<R extends object>(url: string, text: string, values: unknown[] = []): Promise<R[]> {
  const client = connection(url);
  await client.connect();
  try {
    return (await client.query<R>(text, values)).rows;
  } finally {
    await client.end();
  }
}

async function expectRows(url: string, table: string, rows: number): Promise<void> {
  const [found] = await query<{ count: string }>(url, `SELECT count(*) FROM ${table}`);
  if (Number(found?.count) !== rows) throw new Error(`${table} has ${found?.count} rows, not ${rows}`);
}

if (process.argv[1] === import.meta.filename) print(await run());
