import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Dispatcher } from "../../src/operations/dispatcher.js";
import { Ledger } from "../../src/operations/ledger.js";
import type { OperationQueue, QueueItem } from "../../src/operations/queue.js";
import { addSlots } from "../../src/operations/slots.js";
import { newId } from "../../src/platform/ids.js";
import { until } from "../support/until.js";
import {
  explained,
  firstStatement,
  LEASE_MS,
  type LedgerBench,
  lockless,
  openLedger,
  silent,
  wish,
} from "./support.js";

const LIMIT = 3;
const SUCCEEDED = { status: "succeeded", result: null } as const;

let bench: LedgerBench;
/** What was sent, in the order in which it was. */
let sent: QueueItem[] = [];
const queue: Pick<OperationQueue, "send"> = { send: async (items) => void sent.push(...items) };
let dispatcher: Dispatcher;
/** Tells nobody of what it accepts. */
let silently: Ledger;
let ledger: Ledger;
/** What the dispatcher was told: null is to be found by a look. */
let told: { readonly id: string; readonly sendAs: number | null }[] = [];

beforeAll(async () => {
  bench = await openLedger();
  silently = new Ledger(bench.db, { concurrency: LIMIT });
});
afterAll(() => bench.close());
beforeEach(async () => {
  await bench.database.query("TRUNCATE operations, operation_slots CASCADE");
  [sent, told] = [[], []];
  dispatcher = new Dispatcher(bench.db, queue, silent, { concurrency: LIMIT });
  ledger = new Ledger(bench.db, {
    concurrency: LIMIT,
    dispatcher: {
      accepted: (operation, sendAs) => {
        told.push({ id: operation.id, sendAs });
        dispatcher.accepted(operation, sendAs);
      },
    },
  });
});

// What it is still sending would be found among what the next test sends.
afterEach(() => dispatcher.stop());

const marked = (): string[] => told.filter(({ sendAs }) => sendAs !== null).map(({ id }) => id);
const claim = (id: string) => ledger.claim(id, "worker", LEASE_MS);

describe("what is accepted where nobody waits before it", () => {
  test("is sent without a look, as that would have sent it", async () => {
    const organizationId = newId();
    await claim((await silently.accept(lockless({ organizationId }))).id);
    const requests = [{ scheduled: true }, {}, { organizationId: newId(), region: "north" }];
    const accepted = await Promise.all(
      requests.map((more) => ledger.accept(lockless({ organizationId, ...more }))),
    );
    await dispatcher.stop();
    expect(marked().sort()).toEqual(accepted.map(({ id }) => id).sort());
    const byId = (items: readonly QueueItem[]) => items.toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const direct = byId(sent);
    sent = [];
    await bench.database.query("UPDATE operations SET dispatched_at = NULL WHERE status = 'pending'");
    await dispatcher.dispatch();
    expect(byId(sent)).toMatchObject(direct);
    // One is at work; of two together the one that somebody asked for is before the scheduled one.
    expect(direct.map(({ priority }) => priority)).toEqual([1_114, 1_103, 1_102]);
    expect(direct[2]).toMatchObject({ region: "north" });
  });

  test("is marked as it is written, so no look of another process sends it too", async () => {
    const { id } = await ledger.accept(lockless());
    expect((await bench.row(id)).dispatched_at).not.toBeNull();
  });

  test("is not sent by a look besides", async () => {
    const { id } = await ledger.accept(lockless());
    await dispatcher.dispatch();
    await dispatcher.stop();
    expect(sent.map((item) => item.id)).toEqual([id]);
  });

  test("is sent when its transaction is committed, and never where that is rolled back", async () => {
    const accepted = await bench.db.transaction(async (tx) => {
      const operation = await ledger.request(tx, wish());
      expect(told).toEqual([]);
      return operation;
    });
    const fault = new Error("rolled back");
    await bench.db.transaction(async (tx) => {
      const part = tx.part(async () => {
        await ledger.request(tx, wish());
        throw fault;
      });
      await expect(part).rejects.toBe(fault);
    });
    const refused = bench.db.transaction(async (tx) => {
      await ledger.request(tx, wish());
      throw fault;
    });
    await expect(refused).rejects.toBe(fault);
    await dispatcher.stop();
    expect(sent.map(({ id }) => id)).toEqual([accepted.id]);
  });

  test("is found by a later sweep where the queue is away", async () => {
    const away = new Dispatcher(bench.db, { send: () => Promise.reject(new Error("away")) }, silent);
    const { id } = await new Ledger(bench.db, { dispatcher: away }).accept(lockless());
    await away.stop();
    await dispatcher.dispatch();
    expect(sent).toEqual([]);
    await bench.database.query("UPDATE operations SET dispatched_at = dispatched_at - interval '1 minute'");
    await dispatcher.dispatch();
    expect(sent.map((item) => item.id)).toEqual([id]);
  });

  test("is sent before a dispatcher has stopped", async () => {
    let arrived: (() => void) | null = null;
    const slow = new Dispatcher(
      bench.db,
      { send: () => new Promise<void>((resolve) => (arrived = resolve)) },
      silent,
    );
    await new Ledger(bench.db, { dispatcher: slow }).accept(lockless());
    let stopped = false;
    const stopping = slow.stop().then(() => {
      stopped = true;
    });
    await until("it is being sent", () => arrived !== null);
    expect(stopped).toBe(false);
    (arrived as (() => void) | null)?.();
    await stopping;
  });

  test("waits for a look where nobody was there to send it", async () => {
    const { id } = await silently.accept(lockless());
    expect((await bench.row(id)).dispatched_at).toBeNull();
  });

  test("is seen at one cost, however many wait elsewhere and have ended", { timeout: 120_000 }, async () => {
    const accepting = await firstStatement((db) =>
      new Ledger(db, { concurrency: LIMIT, dispatcher }).accept(lockless()).catch(() => {}),
    );
    const fill = (status: string, count: number) =>
      bench.database.query(
        `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, timeout_seconds, created_by, status)
         SELECT gen_random_uuid(), gen_random_uuid(), 'sync', 'run', gen_random_uuid(), 60, '{}', $1 FROM generate_series(1, $2::int)`,
        [status, count],
      );
    const pages = async (): Promise<number> => {
      await bench.database.query("ANALYZE operations");
      const taken: number[] = [];
      const undo = new Error("undone");
      await bench.db
        .transaction(async (tx) => {
          taken.push((await explained(tx, accepting)).pages);
          throw undo;
        })
        .catch((error: unknown) => {
          if (error !== undo) throw error;
        });
      return taken[0] ?? Number.NaN;
    };
    for (const status of ["pending", "succeeded"]) await fill(status, 200);
    const few = await pages();
    for (const status of ["pending", "succeeded"]) await fill(status, 20_000);
    expect(await pages()).toBeLessThan(few * 1.5 + 50);
  });
});

describe("what is accepted", () => {
  test("stands behind who waits in its line, and is sent in its turn", async () => {
    const organizationId = newId();
    const waiting = await silently.accept(lockless({ organizationId }));
    const behind = await ledger.accept(lockless({ organizationId }));
    const elsewhere = await ledger.accept(lockless({ organizationId, region: "north" }));
    const others = await ledger.accept(lockless());
    expect(marked()).toEqual([elsewhere.id, others.id]);
    await until("all are sent", () => sent.length === 4);
    expect(sent.map(({ id }) => id)).toEqual(expect.arrayContaining([waiting.id, behind.id]));
  });

  test("is sent no further than its organization has free slots, also where it comes together", async () => {
    const organizationId = newId();
    const running = await silently.accept(lockless({ organizationId }));
    await claim(running.id);
    const together = await Promise.all(
      Array.from({ length: 5 }, () => ledger.accept(lockless({ organizationId }))),
    );
    await dispatcher.stop();
    expect(marked()).toHaveLength(LIMIT - 1);
    expect(sent.map(({ id }) => id).sort()).toEqual(marked().sort());
    for (const { id } of together) await claim(id);
    const working = await bench.database.query("SELECT FROM operations WHERE status = 'running'");
    expect(working).toHaveLength(LIMIT);
    const late = await ledger.accept(lockless({ organizationId }));
    expect(marked()).not.toContain(late.id);
    await ledger.finish(running.id, 1, SUCCEEDED);
    await dispatcher.dispatch();
    const waiting = together.slice(LIMIT - 1).map(({ id }) => id);
    await until("another one is sent", () => sent.some(({ id }) => waiting.includes(id)));
  });

  test("of an organization with all slots taken waits, and of one with more of its own is sent", async () => {
    const [full, wide] = [newId(), newId()];
    await bench.database.query("INSERT INTO organizations (id, name, concurrency) VALUES ($1, 'wide', 10)", [
      wide,
    ]);
    for (const organizationId of [full, wide])
      for (let i = 0; i < LIMIT; i += 1)
        await claim((await silently.accept(lockless({ organizationId }))).id);
    const waits = await ledger.accept(lockless({ organizationId: full }));
    const goes = await ledger.accept(lockless({ organizationId: wide }));
    await dispatcher.stop();
    expect(told).toEqual([
      { id: waits.id, sendAs: null },
      { id: goes.id, sendAs: expect.any(Number) },
    ]);
    expect(sent.map(({ id }) => id)).toEqual([goes.id]);
  });

  test("by several transactions at once may be sent for one free slot, and is claimed by one", async () => {
    const organizationId = newId();
    await addSlots(bench.db, organizationId, LIMIT);
    for (let i = 1; i < LIMIT; i += 1) await claim((await silently.accept(lockless({ organizationId }))).id);
    const both = await bench.db.transaction(async (tx) => {
      const first = await ledger.request(tx, wish({ organizationId }));
      return [first, await bench.db.transaction((other) => ledger.request(other, wish({ organizationId })))];
    });
    expect(marked().sort()).toEqual(both.map(({ id }) => id).sort());
    const claimed = await Promise.all(both.map(({ id }) => claim(id)));
    expect(claimed.filter((operation) => operation !== null)).toHaveLength(1);
    const [loser] = both.filter(({ id }) => !claimed.some((operation) => operation?.id === id));
    expect(await bench.row(loser?.id ?? "")).toMatchObject({ status: "pending", dispatched_at: null });
  });

  test("for a request that waits is left to the look, which bounds how many there are at once", async () => {
    const { id } = await ledger.accept(lockless({ operationType: "check" }));
    expect(told).toEqual([{ id, sendAs: null }]);
    await until("it is sent", () => sent.length === 1);
  });
});
