import { afterAll } from "vitest";
import { migrateQueue, type QueueBackend } from "../../src/operations/queue.js";
import { createRedis, hasRedis, type TestRedis } from "./redis.js";

/** What carries the queue and the signals of an installation. */
export interface TestBackend {
  readonly name: "postgres" | "redis";
  /** Null: PostgreSQL. */
  readonly redis: TestRedis | null;
  /** What a process's environment says of it. */
  readonly env: Readonly<Record<string, string>>;
  /** The queue's own configuration, ready for use; `databaseUrl` is the control plane's database. */
  queue(databaseUrl: string): Promise<QueueBackend>;
}

const POSTGRES: TestBackend = {
  name: "postgres",
  redis: null,
  env: {},
  queue: async (databaseUrl) => {
    await migrateQueue(databaseUrl);
    return { kind: "postgres", databaseUrl };
  },
};

/** The backends that can be tested here. Where there is no redis-server, that is said; in CI it must be there. */
export function backendNames(): readonly TestBackend["name"][] {
  if (hasRedis()) return ["postgres", "redis"];
  const message = "there is no redis-server on this machine (Debian: apt-get install redis-server)";
  if (process.env["CI"] === "true") throw new Error(message);
  console.warn(`${message}: what runs on Redis is not tested`);
  return ["postgres"];
}

/**
 * Both queue backends, for `describe.each(await queueBackends())("on $name", ...)`: the same tests run on each.
 * The Redis is the test file's own and ends with it.
 */
export async function queueBackends(): Promise<TestBackend[]> {
  if (!backendNames().includes("redis")) return [POSTGRES];
  const redis = await createRedis();
  await redis.start();
  afterAll(() => redis.close());
  const queue = async (): Promise<QueueBackend> => ({ kind: "redis", redisUrl: redis.url });
  return [POSTGRES, { name: "redis", redis, env: { REDIS_URL: redis.url }, queue }];
}
