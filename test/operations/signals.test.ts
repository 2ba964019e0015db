import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PostgresSignals, RedisSignals, type Signals } from "../../src/platform/signals.js";
import { Database } from "../../src/platform/sql.js";
import { queueBackends, type TestBackend } from "../support/backends.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { createRedis, hasRedis } from "../support/redis.js";
import { until } from "../support/until.js";
import { silent } from "./support.js";

interface Process {
  readonly signals: Signals;
  close(): Promise<void>;
}

describe.each(await queueBackends())("on $name", (backend) => {
  let database: TestDatabase;
  let one: Process;
  let other: Process;

  beforeAll(async () => {
    database = await createDatabase();
    one = await openProcess(backend, database);
    other = await openProcess(backend, database);
  });
  afterAll(async () => {
    await one.close();
    await other.close();
    await database.drop();
  });

  test("a signal is heard by every process, the sender's too, on its channel alone", async () => {
    const heard: string[] = [];
    const ends = [
      one.signals.subscribe("operation.changed", (payload) => heard.push(`one ${payload}`)),
      other.signals.subscribe("operation.changed", (payload) => heard.push(`other ${payload}`)),
      other.signals.subscribe("access.changed", (payload) => heard.push(`access ${payload}`)),
    ];
    await one.signals.publish("operation.changed", "a");
    await until("both heard it", () => heard.length >= 2);
    await one.signals.publish("access.changed", "b");
    await until("the other channel too", () => heard.length >= 3);
    expect(heard.sort()).toEqual(["access b", "one a", "other a"]);
    for (const end of ends) end();
  });

  test("who has unsubscribed hears nothing more", async () => {
    const heard: string[] = [];
    const end = other.signals.subscribe("operation.changed", (payload) => heard.push(payload));
    end();
    const stays = other.signals.subscribe("operation.changed", (payload) => heard.push(`stays ${payload}`));
    await one.signals.publish("operation.changed", "x");
    await until("the other subscriber heard it", () => heard.length > 0);
    expect(heard).toEqual(["stays x"]);
    stays();
  });

  test("they are heard again after the connections were cut", async () => {
    const heard: string[] = [];
    const end = other.signals.subscribe("operation.changed", (payload) => heard.push(payload));
    for (let round = 1; round <= 2; round++) {
      heard.length = 0;
      await cut(backend, database);
      await until(`heard again in round ${round}`, async () => {
        await one.signals.publish("operation.changed", String(round));
        return heard.includes(String(round));
      });
    }
    end();
  });
});

/** Ends the connections that listen; how many there are afterwards shows whether more than needed come back. */
async function cut(backend: TestBackend, database: TestDatabase): Promise<void> {
  if (backend.redis !== null) {
    await backend.redis.command("CLIENT", "KILL", "TYPE", "pubsub");
    return;
  }
  const listening =
    "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'signals'";
  // Of an earlier cut, the one that is listened on here may be back before the other.
  await until("both listen", async () => (await database.query(`SELECT 1 ${listening}`)).length === 2);
  expect(await database.query(`SELECT pg_terminate_backend(pid) ${listening}`)).toHaveLength(2);
}

async function openProcess(backend: TestBackend, { url }: TestDatabase): Promise<Process> {
  if (backend.redis !== null) {
    const signals = await new RedisSignals(backend.redis.url, silent).open();
    return { signals, close: () => signals.close() };
  }
  const db = new Database(url, 2, silent);
  const signals = await new PostgresSignals(url, db.pool, silent).open();
  const close = async (): Promise<void> => {
    await signals.close();
    await db.close();
  };
  return { signals, close };
}

test.skipIf(!hasRedis())(
  "a start without Redis is not held up, and hears signals once it is there",
  async () => {
    const redis = await createRedis();
    const signals = await new RedisSignals(redis.url, silent).open();
    const heard: string[] = [];
    signals.subscribe("operation.changed", (payload) => heard.push(payload));
    await expect(signals.publish("operation.changed", "lost")).resolves.toBeUndefined();
    await redis.start();
    await until("signals are heard", async () => {
      await signals.publish("operation.changed", "later");
      return heard.includes("later");
    });
    expect(heard).not.toContain("lost");
    await signals.close();
    await redis.close();
  },
);

test.skipIf(!hasRedis())("a signal to a Redis that says nothing is given up", async () => {
  const redis = await createRedis();
  await redis.start();
  const signals = await new RedisSignals(redis.url, silent).open();
  await redis.signal("SIGSTOP");
  await expect(signals.publish("operation.changed", "x")).resolves.toBeUndefined();
  await signals.close();
  await redis.close();
});

test("a signal that cannot be sent to PostgreSQL is lost without an error", async () => {
  const url = "postgresql://nobody@127.0.0.1:1/nothing";
  const db = new Database(url, 1, silent);
  const signals = new PostgresSignals(url, db.pool, silent);
  await expect(signals.publish("operation.changed", "x")).resolves.toBeUndefined();
  await expect(signals.open()).rejects.toThrow();
  await signals.close();
  await db.close();
});
