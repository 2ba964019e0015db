import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { requestCancel } from "../../src/operations/cancel.js";
import { URGENT_AT_ONCE } from "../../src/operations/catalog.js";
import { Dispatcher } from "../../src/operations/dispatcher.js";
import { Ledger } from "../../src/operations/ledger.js";
import type { Operation } from "../../src/operations/operation.js";
import type { OperationQueue, QueueItem } from "../../src/operations/queue.js";
import { addSlots, freeLostSlots } from "../../src/operations/slots.js";
import { newId } from "../../src/platform/ids.js";
import { Database } from "../../src/platform/sql.js";
import { until } from "../support/until.js";
import {
  explained,
  firstStatement,
  LEASE_MS,
  type LedgerBench,
  openLedger,
  silent,
  wish,
} from "./support.js";

const LIMIT = 3;
const SUCCEEDED = { status: "succeeded", result: null } as const;
const nothing = async (): Promise<void> => {};

let bench: LedgerBench;
/** What was sent, as the queue delivers it. */
let sent: QueueItem[] = [];
const queue: Pick<OperationQueue, "send"> = {
  send: async (items) => {
    sent = [...sent, ...items].sort((a, b) => a.priority - b.priority);
  },
};
let ledger: Ledger;
let dispatcher: Dispatcher;

beforeAll(async () => {
  bench = await openLedger();
  ledger = new Ledger(bench.db, { concurrency: LIMIT });
});
afterAll(() => bench.close());
beforeEach(async () => {
  await bench.database.query("TRUNCATE operations, operation_slots CASCADE");
  sent = [];
  dispatcher = new Dispatcher(bench.db, queue, silent, { concurrency: LIMIT });
});

/** Accepts operations of one organization. */
function accept(
  organizationId: string,
  count: number,
  more: Parameters<typeof wish>[0] = {},
): Promise<Operation[]> {
  return bench.db.transaction(async (tx) => {
    const accepted: Operation[] = [];
    for (let i = 0; i < count; i++)
      accepted.push(await ledger.request(tx, wish({ organizationId, ...more })));
    return accepted;
  });
}

/** Puts many operations of one organization into the ledger. */
async function flood(organizationId: string, count: number): Promise<void> {
  await bench.database.query(
    `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, timeout_seconds, created_by)
     SELECT gen_random_uuid(), $1, 'sync', 'run', gen_random_uuid(), 60, '{}' FROM generate_series(1, $2::int)`,
    [organizationId, count],
  );
}

const claim = (operation: { id: string } | undefined) =>
  ledger.claim(operation?.id ?? "", "worker", LEASE_MS);
const ids = (items: readonly { id: string }[]): string[] => items.map(({ id }) => id);

describe("an organization", () => {
  test("never has more at work than it may, however many claim at once", async () => {
    const operations = await accept(newId(), 30);
    // Of every process the ledger and its connections are its own.
    const other = new Database(bench.database.url, 20, silent);
    const ledgers = [ledger, new Ledger(other, { concurrency: LIMIT })];
    const claims = operations.flatMap(({ id }) => ledgers.map((one) => one.claim(id, "worker", LEASE_MS)));
    const got = (await Promise.all(claims)).filter((operation) => operation !== null);
    // A slot that is just being taken is passed over: there may be room left, never too little.
    expect(got.length).toBeGreaterThan(0);
    expect(got.length).toBeLessThanOrEqual(LIMIT);
    for (const operation of operations) await claim(operation);
    const running = await bench.database.query("SELECT 1 FROM operations WHERE status = 'running'");
    expect(running).toHaveLength(LIMIT);
    await other.close();
  });

  test("has the next begin when one has ended, and is told that it waited", async () => {
    const operations = await accept(newId(), LIMIT + 1);
    const running = operations.slice(0, LIMIT);
    for (const operation of running) expect(await claim(operation)).not.toBeNull();
    const last = operations.at(-1);
    expect(await claim(last)).toBeNull();
    const finish = async (operation: Operation | undefined) =>
      (await ledger.finish(operation?.id ?? "", 1, SUCCEEDED)).wasFull;
    expect(await finish(running[0])).toBe(true);
    expect(await claim(last)).not.toBeNull();
    expect(await finish(running[1])).toBe(true);
    expect(await finish(running[2])).toBe(false);
  });

  test("may have another number at once, which counts at the next claim", async () => {
    const organizationId = newId();
    await bench.database.query("INSERT INTO organizations (id, name, concurrency) VALUES ($1, 'one', 1)", [
      organizationId,
    ]);
    const [first, second, third] = await accept(organizationId, 3);
    expect(await claim(first)).not.toBeNull();
    expect(await claim(second)).toBeNull();
    await bench.database.query("UPDATE organizations SET concurrency = 2 WHERE id = $1", [organizationId]);
    expect(await claim(second)).not.toBeNull();
    await bench.database.query("UPDATE organizations SET concurrency = 1 WHERE id = $1", [organizationId]);
    await ledger.finish(second?.id ?? "", 1, SUCCEEDED, nothing);
    expect(await claim(third)).toBeNull();
  });

  test("keeps the slot of an operation whose worker died, and takes no second one for it", async () => {
    const operations = await accept(newId(), LIMIT + 1);
    for (const operation of operations.slice(0, LIMIT)) expect(await claim(operation)).not.toBeNull();
    await bench.expireLease(operations[0]?.id ?? "");
    expect(await claim(operations.at(-1))).toBeNull();
    expect(await claim(operations[0])).toMatchObject({ attempt: 2 });
    await ledger.finish(operations[0]?.id ?? "", 2, SUCCEEDED, nothing);
    expect(await claim(operations.at(-1))).not.toBeNull();
  });

  test("gets the slot back of what was handed over, and of what a pause lets wait not", async () => {
    const operations = await accept(newId(), LIMIT + 1);
    for (const operation of operations.slice(0, LIMIT)) expect(await claim(operation)).not.toBeNull();
    await ledger.handOver(operations[0]?.id ?? "", 1, 60_000);
    expect(await claim(operations.at(-1))).toBeNull();
    await ledger.handOver(operations[1]?.id ?? "", 1);
    expect(await claim(operations.at(-1))).not.toBeNull();
    expect(await claim(operations[1])).toBeNull();
  });

  test("is answered and may cancel though nothing more of it may begin", async () => {
    const organizationId = newId();
    const operations = await accept(organizationId, LIMIT + 1);
    for (const operation of operations.slice(0, LIMIT)) expect(await claim(operation)).not.toBeNull();
    const [check] = await accept(organizationId, 1, { operationType: "check" });
    const waiting = operations.at(-1);
    if (waiting === undefined) throw new Error("none waits");
    await bench.db.transaction((tx) => requestCancel(tx, waiting));
    await dispatcher.dispatch();
    expect(ids(sent)).toEqual([waiting.id, check?.id]);
    expect(await claim(check)).not.toBeNull();
    expect(await claim(waiting)).toMatchObject({ status: "cancelling" });
  });

  test("has its first operation begin though another process makes its slots at that moment", async () => {
    const organizationId = newId();
    const [first] = await accept(organizationId, 1);
    let claimed: Promise<unknown> | null = null;
    await bench.db.transaction(async (tx) => {
      await addSlots(tx, organizationId, LIMIT);
      claimed = claim(first);
      await until("the claim waits", () => bench.isWaited("INSERT INTO operation_slots"));
    });
    expect(await claimed).not.toBeNull();
  });

  test("has one slot taken by an operation that is claimed and given up while another claim waits", async () => {
    const [other, waiting] = await accept(newId(), 2);
    await claim(other);
    let claimed: Promise<unknown> | null = null;
    await bench.db.transaction(async (tx) => {
      await tx.run("SELECT FROM operations WHERE id = $1 FOR UPDATE", [waiting?.id]);
      claimed = claim(waiting);
      await until("the claim waits", () => bench.isWaited("asked_id"));
      await tx.run("UPDATE operation_slots SET operation_id = $1 WHERE slot = 2", [waiting?.id]);
      await tx.run(
        `UPDATE operations SET status = 'running', attempt = 1, leased_by = 'another',
           lease_expires_at = clock_timestamp() - interval '1 second' WHERE id = $1`,
        [waiting?.id],
      );
    });
    expect(await claimed).toBeNull();
    expect(await claim(waiting)).toMatchObject({ attempt: 2 });
    const taken = await bench.database.query("SELECT 1 FROM operation_slots WHERE operation_id IS NOT NULL");
    expect(taken).toHaveLength(2);
  });

  test("gets back the slots of operations that are gone", async () => {
    const operations = await accept(newId(), LIMIT + 1);
    for (const operation of operations.slice(0, LIMIT)) expect(await claim(operation)).not.toBeNull();
    await bench.database.query("DELETE FROM operations WHERE id = $1", [operations[0]?.id]);
    expect(await claim(operations.at(-1))).toBeNull();
    expect(await freeLostSlots(bench.db)).toBe(1);
    expect(await freeLostSlots(bench.db)).toBe(0);
    expect(await claim(operations.at(-1))).not.toBeNull();
  });
});

describe("what is sent", () => {
  test("of an organization is no more than may begin, and nothing when it has no slot left", async () => {
    const operations = await accept(newId(), 10);
    await dispatcher.dispatch();
    expect(ids(sent)).toEqual(ids(operations.slice(0, LIMIT)));
    for (const { id } of sent) expect(await claim({ id })).not.toBeNull();
    sent = [];
    await dispatcher.dispatch();
    expect(sent).toEqual([]);
    await ledger.finish(operations[1]?.id ?? "", 1, SUCCEEDED, nothing);
    await dispatcher.dispatch();
    expect(ids(sent)).toEqual([operations[LIMIT]?.id]);
  });

  test("lets an organization with one operation begin before the second of one with 10,000", async () => {
    const large = newId();
    await flood(large, 10_000);
    const [only] = await accept(newId(), 1);
    await dispatcher.dispatch();
    expect(ids(sent.slice(0, 2))).toContain(only?.id);
  });

  test("lets who has nothing at work begin before who has", async () => {
    const busy = newId();
    const [first, , third] = await accept(busy, 3);
    await claim(first);
    await dispatcher.dispatch();
    const [only] = await accept(newId(), 1);
    await dispatcher.dispatch();
    expect(ids(sent)[0]).toBe(only?.id);
    expect(ids(sent)).toContain(third?.id);
  });

  test("begins with questions, then with what clients ask for, then with what schedules do", async () => {
    const organizationId = newId();
    const [scheduled] = await accept(organizationId, 1, { scheduled: true });
    const [asked] = await accept(organizationId, 1);
    const [question] = await accept(organizationId, 1, { operationType: "check" });
    await dispatcher.dispatch();
    expect(ids(sent)).toEqual([question?.id, asked?.id, scheduled?.id]);
  });

  test("lets no organization's questions keep others from beginning, however many it asks", async () => {
    const asker = newId();
    const questions = await accept(asker, 20, { operationType: "check" });
    const [other] = await accept(newId(), 1, { operationType: "check" });
    const [work] = await accept(newId(), 1);
    await dispatcher.dispatch();
    const first = questions.slice(0, URGENT_AT_ONCE).map(({ id }) => id);
    expect(ids(sent).sort()).toEqual([...first, other?.id, work?.id].sort());
    for (const id of first) expect(await ledger.claim(id, "w", LEASE_MS)).not.toBeNull();
    await dispatcher.dispatch();
    expect(sent).toHaveLength(URGENT_AT_ONCE + 2);
    await ledger.finish(first[0] ?? "", 1, SUCCEEDED);
    await dispatcher.dispatch();
    expect(ids(sent)).toContain(questions[URGENT_AT_ONCE]?.id);
    expect(sent).toHaveLength(URGENT_AT_ONCE + 3);
  });

  test("lets what another's schedule asks for begin before the tail of many that clients ask for", async () => {
    const wide = new Dispatcher(bench.db, queue, silent, { concurrency: 40 });
    await flood(newId(), 1_000);
    const [scheduled] = await accept(newId(), 1, { scheduled: true });
    await wide.dispatch();
    const place = ids(sent).indexOf(scheduled?.id ?? "");
    expect(place).toBeGreaterThan(5);
    expect(place).toBeLessThan(15);
  });

  test("is not held up by a region that nobody serves", async () => {
    const organizationId = newId();
    await accept(organizationId, 600, { region: "nowhere" });
    const [anywhere] = await accept(organizationId, 1);
    const [north] = await accept(organizationId, 1, { region: "north" });
    await dispatcher.dispatch();
    expect(ids(sent)).toEqual(expect.arrayContaining([anywhere?.id, north?.id]));
  });

  test("costs the same, however many wait", { timeout: 120_000 }, async () => {
    const due = await firstStatement((db) =>
      new Dispatcher(db, queue, silent, { concurrency: LIMIT }).dispatch(),
    );
    const pages = async (): Promise<number> => {
      await bench.database.query("ANALYZE operations");
      return bench.db.transaction(async (tx) => {
        const { pages: read } = await explained(tx, due);
        // Not sent: what is looked at next is as it was.
        await tx.rows("UPDATE operations SET dispatched_at = NULL WHERE dispatched_at IS NOT NULL");
        return read;
      });
    };
    const organizations = Array.from({ length: 5 }, newId);
    for (const one of organizations) await flood(one, 200);
    const few = await pages();
    for (const one of organizations) await flood(one, 20_000);
    expect(await pages()).toBeLessThan(few * 1.5 + 50);
  });
});
