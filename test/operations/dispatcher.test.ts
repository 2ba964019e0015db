import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Dispatcher } from "../../src/operations/dispatcher.js";
import { type OperationQueue, openQueue } from "../../src/operations/queue.js";
import { newId } from "../../src/platform/ids.js";
import { Database } from "../../src/platform/sql.js";
import { queueBackends } from "../support/backends.js";
import { until } from "../support/until.js";
import { LEASE_MS, type LedgerBench, openLedger, silent } from "./support.js";

const SUCCEEDED = { status: "succeeded", result: null } as const;
const nothing = async (): Promise<void> => {};

describe.each(await queueBackends())("on $name", (backend) => {
  let bench: LedgerBench;
  let queue: OperationQueue;
  let dispatcher: Dispatcher;

  beforeAll(async () => {
    bench = await openLedger();
    queue = openQueue(await backend.queue(bench.database.url), silent);
    dispatcher = new Dispatcher(bench.db, queue, silent);
  });
  afterAll(async () => {
    await dispatcher.stop();
    await queue.close();
    await bench.close();
  });
  beforeEach(async () => {
    await wipeQueue();
    await bench.database.query("TRUNCATE operations, operation_slots CASCADE");
  });

  async function wipeQueue(): Promise<void> {
    if (backend.redis !== null) await backend.redis.command("FLUSHALL");
    else await bench.database.query("TRUNCATE bullmq.job CASCADE");
  }

  /** Receives ids one at a time until `count` came. */
  async function receive(count: number, regions: readonly string[] = []): Promise<string[]> {
    const ids: string[] = [];
    const { stop } = await queue.consume(async (id) => void ids.push(id), 1, regions);
    await until(`${count} ids came`, () => ids.length >= count);
    await stop();
    return ids;
  }

  test("what a region has to do is sent to its workers alone", async () => {
    const north = await bench.accept({ region: "north" });
    const anywhere = await bench.accept();
    await dispatcher.dispatch();
    expect(await receive(1)).toEqual([anywhere.id]);
    expect(await receive(1, ["north"])).toEqual([north.id]);
  });

  test("what was cancelled before anybody began ends though nobody serves its region", async () => {
    const { id } = await bench.accept({ region: "nowhere" });
    await bench.database.query("UPDATE operations SET status = 'cancelling' WHERE id = $1", [id]);
    await dispatcher.dispatch();
    expect(await receive(1)).toEqual([id]);
    expect(await bench.ledger.claim(id, "worker", LEASE_MS)).toMatchObject({ status: "cancelling" });
  });

  test("what is due is sent once, however often it is looked for", async () => {
    const { id } = await bench.accept();
    await dispatcher.dispatch();
    await Promise.all([dispatcher.dispatch(), dispatcher.dispatch()]);
    const marker = await bench.accept();
    await dispatcher.dispatch();
    expect(await receive(2)).toEqual([id, marker.id]);
  });

  test("what somebody works at, or what is done, is not sent", async () => {
    const worked = await bench.accept();
    await bench.ledger.claim(worked.id, "worker", LEASE_MS);
    const done = await bench.accept();
    await bench.ledger.claim(done.id, "worker", LEASE_MS);
    await bench.ledger.finish(done.id, 1, SUCCEEDED, nothing);
    const marker = await bench.accept();
    await dispatcher.dispatch();
    expect(await receive(1)).toEqual([marker.id]);
  });

  test("what a dead worker left behind is sent again when its lease has run out", async () => {
    const { id } = await bench.accept();
    await dispatcher.dispatch();
    expect(await receive(1)).toEqual([id]);
    await bench.ledger.claim(id, "worker that dies", LEASE_MS);
    await bench.expireLease(id);
    await longAgo(id);
    await dispatcher.dispatch();
    expect(await receive(1)).toEqual([id]);
  });

  test("operations whose queue was wiped are sent again", async () => {
    const operations = await Promise.all(Array.from({ length: 5 }, () => bench.accept()));
    await dispatcher.dispatch();
    await wipeQueue();
    for (const { id } of operations) await longAgo(id);
    await dispatcher.dispatch();
    expect((await receive(5)).sort()).toEqual(operations.map(({ id }) => id).sort());
  });

  test("a death between marking and sending is made up for by a later sweep", async () => {
    const { id } = await bench.accept();
    const dead: OperationQueue = { ...queue, send: () => Promise.reject(new Error("died")) };
    await new Dispatcher(bench.db, dead, silent).dispatch();
    await dispatcher.dispatch();
    expect((await bench.row(id)).dispatched_at).not.toBeNull();
    await longAgo(id);
    await dispatcher.dispatch();
    expect(await receive(1)).toEqual([id]);
  });

  test("what somebody waits for in a request comes first", async () => {
    const sync = await bench.accept();
    const check = await bench.accept({ operationType: "check" });
    const discover = await bench.accept({ operationType: "discover" });
    await dispatcher.dispatch();
    expect(await receive(3)).toEqual([check.id, discover.id, sync.id]);
  });

  test("of a long backlog as much is sent as may be at work, and more as soon as something has ended", async () => {
    const organizationId = newId();
    await bench.database.query(
      `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, timeout_seconds, created_by)
       SELECT gen_random_uuid(), $1, 'sync', 'run', gen_random_uuid(), 60, '{}' FROM generate_series(1, 700)`,
      [organizationId],
    );
    const all = await bench.database.query<{ id: string }>("SELECT id FROM operations ORDER BY id");
    const ids = all.map(({ id }) => id);
    await dispatcher.dispatch();
    await dispatcher.dispatch();
    expect(await sent()).toEqual(ids.slice(0, 50));
    for (const id of ids.slice(0, 50)) {
      expect(await bench.ledger.claim(id, "worker", 60_000)).not.toBeNull();
    }
    await dispatcher.dispatch();
    expect(await sent()).toEqual(ids.slice(0, 50));
    for (const id of ids.slice(0, 10)) await bench.ledger.finish(id, 1, SUCCEEDED, nothing);
    await dispatcher.dispatch();
    expect(await sent()).toEqual(ids.slice(0, 60));
    expect((await receive(60)).sort()).toEqual(ids.slice(0, 60));
  });

  test("of more organizations than one sweep looks at each gets its turn", async () => {
    await bench.database.query(
      `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, timeout_seconds, created_by)
       SELECT gen_random_uuid(), gen_random_uuid(), 'sync', 'run', gen_random_uuid(), 60, '{}'
       FROM generate_series(1, 700)`,
    );
    await dispatcher.dispatch();
    await dispatcher.dispatch();
    expect((await receive(700)).length).toBe(700);
  });

  test("a call during another finds what came too late for that one", async () => {
    const first = await bench.accept();
    const running = dispatcher.dispatch();
    const second = await bench.accept();
    await Promise.all([running, dispatcher.dispatch()]);
    expect((await receive(2)).sort()).toEqual([first.id, second.id].sort());
  });

  test("several dispatchers at once send everything", async () => {
    const operations = await Promise.all(Array.from({ length: 50 }, () => bench.accept()));
    const others = [1, 2, 3].map(() => new Dispatcher(bench.db, queue, silent));
    await Promise.all(others.map((other) => other.dispatch()));
    expect((await receive(50)).sort()).toEqual(operations.map(({ id }) => id).sort());
  });

  test("sweeps until it is stopped", async () => {
    const sweeping = new Dispatcher(bench.db, queue, silent);
    sweeping.start(50);
    const { id } = await bench.accept();
    expect(await receive(1)).toEqual([id]);
    await sweeping.stop();
    const late = await bench.accept();
    expect((await bench.row(late.id)).dispatched_at).toBeNull();
  });

  async function sent(): Promise<string[]> {
    const rows = await bench.database.query<{ id: string }>(
      "SELECT id FROM operations WHERE dispatched_at IS NOT NULL OR attempt > 0 ORDER BY id",
    );
    return rows.map(({ id }) => id);
  }

  /** Pretends that an operation was sent some time ago. */
  async function longAgo(id: string): Promise<void> {
    await bench.database.query(
      "UPDATE operations SET dispatched_at = now() - interval '1 minute' WHERE id = $1",
      [id],
    );
  }
});

test("never rejects, not even without its database", async () => {
  const away = new Database("postgresql://nobody@127.0.0.1:1/nothing", 1, silent);
  const queue = { send: nothing };
  await expect(new Dispatcher(away, queue, silent).dispatch()).resolves.toBeUndefined();
  await away.close();
});
