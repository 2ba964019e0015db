import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CAPACITY, CAPACITY_OF_ONE, Waiters } from "../../src/operations/waiters.js";
import { PostgresSignals, RedisSignals, type Signals } from "../../src/platform/signals.js";
import { Database, type Statement } from "../../src/platform/sql.js";
import { queueBackends } from "../support/backends.js";
import { until } from "../support/until.js";
import { LEASE_MS, type LedgerBench, openLedger, silent } from "./support.js";

const LONG = 30_000;

/** The database, with a count of the statements that waiters run. */
class CountingDatabase extends Database {
  count = 0;

  override rows<R extends object>(statement: Statement | string, values?: readonly unknown[]): Promise<R[]> {
    this.count++;
    return super.rows<R>(statement, values);
  }
}

/** Every signal is lost. */
const DROPPED: Signals = {
  publish: async () => {},
  subscribe: () => () => {},
  close: async () => {},
};

let bench: LedgerBench;
beforeAll(async () => {
  bench = await openLedger();
});
afterAll(async () => {
  await bench.close();
});

async function finish(id: string): Promise<void> {
  await bench.ledger.claim(id, "worker", LEASE_MS);
  await bench.ledger.finish(id, 1, { status: "succeeded", result: null }, async () => {});
}

describe.each(await queueBackends())("with signals on $name", (backend) => {
  test("a waiter is told at once, by the signal of another process", async () => {
    const [here, there] = await Promise.all([open(), open()]);
    const db = new CountingDatabase(bench.database.url, 2, silent);
    const waiters = new Waiters(db, here);
    const { id } = await bench.accept();
    const waiting = waiters.wait(id, LONG);
    await until("it has looked", () => db.count > 0);
    await there.publish("operation.changed", id);
    // It has not ended at all: so it can only have been the signal.
    await expect(waiting).resolves.toBe(true);
    waiters.close();
    await Promise.all([here.close(), there.close(), db.close()]);
  });

  async function open(): Promise<Signals> {
    const { url } = bench.database;
    return backend.redis === null
      ? new PostgresSignals(url, bench.db.pool, silent).open()
      : new RedisSignals(backend.redis.url, silent).open();
  }
});

describe("with every signal lost", () => {
  let db: CountingDatabase;
  let waiters: Waiters;
  beforeEach(() => {
    db = new CountingDatabase(bench.database.url, 2, silent);
    waiters = new Waiters(db, DROPPED);
  });
  afterEach(async () => {
    waiters.close();
    await db.close();
  });

  test("what has ended before is known at once", async () => {
    const { id } = await bench.accept();
    await finish(id);
    await expect(waiters.wait(id, LONG)).resolves.toBe(true);
  });

  test("what ends later is known by the next look", async () => {
    const { id } = await bench.accept();
    const waiting = waiters.wait(id, LONG);
    await until("it has looked", () => db.count > 0);
    await finish(id);
    await expect(waiting).resolves.toBe(true);
  });

  test("a waiter whose time is up is told so", async () => {
    const { id } = await bench.accept();
    await expect(waiters.wait(id, 100)).resolves.toBe(false);
  });

  test("time that is up for one is not up for another", async () => {
    const { id } = await bench.accept();
    const patient = waiters.wait(id, LONG);
    await expect(waiters.wait(id, 50)).resolves.toBe(false);
    await finish(id);
    await expect(patient).resolves.toBe(true);
  });

  test("a thousand waiters cost as many queries as one", async () => {
    const operations = await Promise.all(Array.from({ length: 10 }, () => bench.accept()));
    const started = performance.now();
    const waiting = Array.from({ length: 1_000 }, (_, i) => waiters.wait(operations[i % 10]?.id ?? "", LONG));
    await until("looked twice", () => db.count >= 2);
    for (const { id } of operations) await finish(id);
    await Promise.all(waiting);
    // The first look, and one every half second.
    const most = 2 + Math.ceil((performance.now() - started) / 500);
    expect(db.count).toBeLessThanOrEqual(most);
  });

  test("are full at ten thousand, and have room again as soon as one goes", async () => {
    const { id } = await bench.accept();
    const go = Array.from({ length: CAPACITY }, (_, i) => {
      const organizationId = i % 2 === 0 ? "one" : "another";
      expect(waiters.isFullFor(organizationId)).toBe(false);
      return watch(id, organizationId);
    });
    expect(waiters.isFullFor("a third")).toBe(true);
    go[0]?.();
    go[0]?.();
    expect(waiters.count).toBe(CAPACITY - 1);
    expect(waiters.isFullFor("a third")).toBe(false);
  });

  test("one organization takes no more than its share, and leaves room for others", async () => {
    const { id } = await bench.accept();
    const go = Array.from({ length: CAPACITY_OF_ONE }, () => {
      expect(waiters.isFullFor("greedy")).toBe(false);
      return watch(id, "greedy");
    });
    expect(waiters.isFullFor("greedy")).toBe(true);
    expect(waiters.isFullFor("another")).toBe(false);
    go[0]?.();
    go[0]?.();
    expect(waiters.isFullFor("greedy")).toBe(false);
    const waiting = waiters.waitFor(
      { id, revision: 1, organizationId: "greedy" },
      LONG,
      new AbortController().signal,
    );
    expect(waiters.isFullFor("greedy")).toBe(true);
    await finish(id);
    await waiting;
    expect(waiters.isFullFor("greedy")).toBe(false);
  });

  function watch(id: string, organizationId: string): () => void {
    const nothing = (): void => {};
    return waiters.watch({ id, revision: 1, organizationId }, nothing, nothing);
  }

  test("closing lets everybody go, and whoever comes later", async () => {
    const { id } = await bench.accept();
    const waiting = [waiters.wait(id, LONG), waiters.wait(id, LONG)];
    waiters.close();
    await expect(Promise.all(waiting)).resolves.toEqual([false, false]);
    await expect(waiters.wait(id, LONG)).resolves.toBe(false);
  });
});

test("a database that is away ends no wait early, and no wait fails", async () => {
  const away = new Database("postgresql://nobody@127.0.0.1:1/nothing", 1, silent);
  const waiters = new Waiters(away, DROPPED);
  await expect(waiters.wait("00000000-0000-7000-8000-000000000000", 700)).resolves.toBe(false);
  waiters.close();
  await away.close();
});
