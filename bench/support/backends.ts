import pg from "pg";
import { migrateQueue } from "../../src/operations/queue.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { createRedis, hasRedis } from "../../test/support/redis.js";
import { type BareQueue, bareQueueOf } from "./bare.js";
import { type BenchServer, startServer } from "./child.js";
import { createBenchDatabase } from "./database.js";

/** Where an installation of a benchmark runs: a database of its own, and maybe a Redis. */
export interface BenchPlace {
  readonly backend: "postgres" | "redis";
  readonly databaseUrl: string;
  /** Starts one of the children of `bench/support`. */
  start(name: string, more?: Readonly<Record<string, string>>): Promise<BenchServer>;
  /** A bare queue that `bare-queue` consumes. */
  bareQueue(): BareQueue;
  query<R extends object>(text: string, values?: unknown[]): Promise<R[]>;
  close(): Promise<void>;
}

/** A place on PostgreSQL alone. Commits are on disk when they are answered: that is looked at. */
export function openPostgres(): Promise<BenchPlace> {
  return openPlace("postgres");
}

/** A place on both backends, one after the other; without redis-server on PostgreSQL alone, which is said. */
export async function onBackends<T>(work: (place: BenchPlace) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (const backend of ["postgres", "redis"] as const) {
    if (backend === "redis" && !hasRedis()) {
      console.warn("there is no redis-server on this machine: nothing is measured on Redis");
      continue;
    }
    const place = await openPlace(backend);
    try {
      results.push(await work(place));
    } finally {
      await place.close();
    }
  }
  return results;
}

async function openPlace(backend: BenchPlace["backend"]): Promise<BenchPlace> {
  const database = await createBenchDatabase();
  await migrateQueue(database.url);
  const redis = backend === "redis" ? await createRedis() : null;
  await redis?.start();
  const pool = new pg.Pool({ connectionString: database.url, max: 1 });
  pool.on("error", () => {});
  const { rows } = await pool.query<{ synchronous_commit: string }>("SHOW synchronous_commit");
  if (rows[0]?.synchronous_commit !== "on") throw new Error("synchronous_commit is not on");
  const settings = {
    BENCH_DATABASE_URL: database.url,
    BENCH_MASTER_KEY: MasterKey.generate(),
    ...(redis === null ? {} : { BENCH_REDIS_URL: redis.url }),
  };
  return {
    ...{ backend, databaseUrl: database.url },
    start: (name, more = {}) => startServer(name, { ...settings, ...more }),
    bareQueue: () => bareQueueOf(database.url, redis?.url),
    query: async <R extends object>(text: string, values: unknown[] = []) =>
      (await pool.query<R>(text, values)).rows,
    async close() {
      await pool.end();
      await redis?.close();
      await database.drop();
    },
  };
}

/** Of a client that may do everything. */
export async function tokenOf({ ready }: BenchServer): Promise<string> {
  const response = await fetch(`${ready["url"]}/oauth/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "client_credentials",
      client_id: String(ready["clientId"]),
      client_secret: String(ready["clientSecret"]),
    }),
  });
  const { access_token } = (await response.json()) as { access_token?: string };
  if (access_token === undefined) throw new Error(`no token: ${response.status}`);
  return access_token;
}
