import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { queueBackends, type TestBackend } from "../support/backends.js";
import { endAllProcesses, spawnRole } from "../support/processes.js";
import { createRedis, hasRedis, type TestRedis } from "../support/redis.js";
import { until } from "../support/until.js";
import { type FaultBench, openFaultBench, ROUTES } from "./bench.js";

const LIMIT = { timeout: 120_000 };

let bench: FaultBench;

async function wipe(backend: TestBackend): Promise<void> {
  if (backend.redis !== null) await backend.redis.command("FLUSHALL");
  else await bench.installation.database.query("TRUNCATE bullmq.job CASCADE");
}

/** How many operations wait in the queue. */
async function inQueue(backend: TestBackend): Promise<number> {
  if (backend.redis !== null)
    return Number(await backend.redis.command("ZCARD", "bull:operations:prioritized"));
  return (await bench.installation.database.query("SELECT FROM bullmq.job")).length;
}

async function checkAll(): Promise<void> {
  for (const route of ROUTES) await bench.check(route);
}

async function acceptAll(): Promise<string[]> {
  const ids = [];
  for (const route of ROUTES) ids.push(await bench.sync(route));
  return ids;
}

function isRunning(ids: readonly string[]): Promise<{ id: string }[]> {
  const running = "SELECT id FROM operations WHERE id = ANY ($1) AND status = 'running'";
  return bench.installation.database.query(running, [ids]);
}

describe.each(await queueBackends())("on $name: when the queue is lost", (backend) => {
  beforeEach(async () => {
    bench = await openFaultBench(backend);
  });
  afterEach(async () => {
    await endAllProcesses();
    await bench.close();
  });

  test("operations that wait for a worker still end", LIMIT, async () => {
    const ids = await acceptAll();
    await until("all are in the queue", async () => (await inQueue(backend)) === ids.length);
    await wipe(backend);
    await bench.startWorker();
    await bench.succeeded(ids, 30_000);
    await checkAll();
  });

  test("operations that are worked at, and those behind them, still end", LIMIT, async () => {
    await bench.startWorker({ WORKER_CONCURRENCY: "1" });
    const gate = await bench.source.hold();
    const ids = await acceptAll();
    await gate.reached(1);
    await wipe(backend);
    await gate.release();
    await bench.succeeded(ids, 30_000);
    await checkAll();
    const attempts = await bench.installation.database.query("SELECT DISTINCT attempt FROM operations");
    expect(attempts).toEqual([{ attempt: 1 }]);
  });

  test("or every connection to the database is cut in mid-sync, operations still end", LIMIT, async () => {
    const worker = await bench.startWorker();
    const gate = await bench.source.hold();
    const ids = await acceptAll();
    await gate.reached(2);
    await bench.installation.database.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    await gate.release();
    await bench.succeeded(ids, 40_000);
    await checkAll();
    expect(worker.isRunning()).toBe(true);
  });
});

describe.skipIf(!hasRedis())("when Redis is away", () => {
  let redis: TestRedis;
  beforeEach(async () => {
    redis = await createRedis();
  });
  afterEach(async () => {
    await endAllProcesses();
    await bench.close();
    await redis.close();
  });

  /** On a Redis that comes and goes. */
  function onRedis(): TestBackend {
    const queue = async () => ({ kind: "redis", redisUrl: redis.url }) as const;
    return { name: "redis", redis, env: { REDIS_URL: redis.url }, queue };
  }

  test("at the start, work is accepted at once and done when Redis comes", LIMIT, async () => {
    bench = await openFaultBench(onRedis());
    const { database, filesRoot, runtime } = bench.installation;
    const worker = spawnRole("worker", {
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: runtime.config.masterKey ?? "",
      FILES_ROOT: filesRoot,
      // Looking for engines of databases takes a second.
      GATEHOUSE_REGIONS: "none",
      OUTBOUND_ALLOW: "loopback",
      REDIS_URL: redis.url,
    });
    await worker.says("redis is away");
    const started = performance.now();
    const ids = await acceptAll();
    expect(performance.now() - started).toBeLessThan(5_000);
    await redis.start();
    await bench.succeeded(ids, 30_000);
    await checkAll();
  });

  test("in mid-sync, that sync goes on, and what waits is done when Redis is back", LIMIT, async () => {
    await redis.start();
    bench = await openFaultBench(onRedis());
    const worker = await bench.startWorker();
    const gate = await bench.source.hold();
    const running = [await bench.sync("postgres to postgres")];
    await gate.reached(1);
    await redis.signal("SIGKILL");
    await gate.release();
    await bench.succeeded(running, 30_000);
    const waiting = [await bench.sync("file to postgres"), await bench.sync("postgres to file")];
    await redis.start();
    await bench.succeeded(waiting, 30_000);
    await checkAll();
    expect(worker.isRunning()).toBe(true);
  });

  test("a worker that is told to stop does so all the same", LIMIT, async () => {
    await redis.start();
    bench = await openFaultBench(onRedis());
    const worker = await bench.startWorker();
    await redis.signal("SIGKILL");
    await worker.says("redis is away");
    const started = performance.now();
    expect((await worker.end("SIGTERM")).code).toBe(0);
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  test("and says nothing at all, work is accepted, and done when it speaks again", LIMIT, async () => {
    await redis.start();
    bench = await openFaultBench(onRedis());
    await bench.startWorker();
    await redis.signal("SIGSTOP");
    const ids = await acceptAll();
    expect(await isRunning(ids)).toEqual([]);
    await redis.signal("SIGCONT");
    await bench.succeeded(ids, 40_000);
    await checkAll();
  });
});
