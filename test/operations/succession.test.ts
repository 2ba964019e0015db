import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { requestCancel } from "../../src/operations/cancel.js";
import { Ledger } from "../../src/operations/ledger.js";
import type { Operation } from "../../src/operations/operation.js";
import { AttemptWrites } from "../../src/operations/writes.js";
import { newId } from "../../src/platform/ids.js";
import { explained, firstStatement, LEASE_MS, type LedgerBench, openLedger, type wish } from "./support.js";

const LIMIT = 3;
const SUCCEEDED = { status: "succeeded", result: null } as const;
const TAKER = { workerId: "the taker", leaseMs: LEASE_MS, regions: ["here"] };

let bench: LedgerBench;
let ledger: Ledger;
beforeAll(async () => {
  bench = await openLedger();
  ledger = new Ledger(bench.db, { concurrency: LIMIT });
});
afterAll(() => bench.close());
beforeEach(() => bench.database.query("TRUNCATE operations, operation_slots CASCADE"));

async function accept(count: number, more: Parameters<typeof wish>[0] = {}): Promise<Operation[]> {
  const accepted: Operation[] = [];
  for (let i = 0; i < count; i++) accepted.push(await bench.accept(more));
  return accepted;
}

const claim = ({ id }: Operation) => ledger.claim(id, "a worker", LEASE_MS, ["here"]);

/** As many operations of one organization at work as it may have, and others that wait. */
async function full(waiting: number, more: Parameters<typeof wish>[0] = {}) {
  const organizationId = newId();
  const running = await accept(LIMIT, { organizationId, ...more });
  const waits = await accept(waiting, { organizationId, ...more });
  for (const operation of running) expect(await claim(operation)).not.toBeNull();
  return { organizationId, running, waits };
}

function end({ id }: Operation, taker: typeof TAKER | null = TAKER) {
  return ledger.finish(id, 1, SUCCEEDED, undefined, taker);
}

const slotsOf = (organizationId: string) =>
  bench.database.query<{ slot: number; holder: string | null }>(
    "SELECT slot, operation_id AS holder FROM operation_slots WHERE organization_id = $1 ORDER BY slot",
    [organizationId],
  );

describe("an end passes its slot on", () => {
  test("to the first of its line, which is claimed with it", async () => {
    const { organizationId, running, waits } = await full(2);
    const { next, wasFull } = await end(running[1] as Operation);
    expect(next).toMatchObject({ id: waits[0]?.id, attempt: 1, status: "running", payload: {} });
    expect(wasFull).toBe(false);
    const row = await bench.row(waits[0]?.id ?? "");
    expect(row).toMatchObject({ status: "running", attempt: 1, leased_by: "the taker" });
    expect(row.lease_expires_at?.getTime()).toBeGreaterThan(Date.now());
    const holders = (await slotsOf(organizationId)).map(({ holder }) => holder);
    expect(holders).toEqual([running[0]?.id, waits[0]?.id, running[2]?.id]);
    // As after any claim.
    await ledger.recordProgress(waits[0]?.id ?? "", 1, { percent: 5, message: "" });
    expect(await claim(waits[0] as Operation)).toBeNull();
    expect((await end(waits[0] as Operation)).next?.id).toBe(waits[1]?.id);
    expect((await end(waits[1] as Operation)).next).toBeNull();
  });

  test("by priority before age", async () => {
    const { organizationId, running } = await full(0);
    const [scheduled] = await accept(1, { organizationId, scheduled: true });
    const [asked] = await accept(1, { organizationId });
    expect((await end(running[0] as Operation)).next?.id).toBe(asked?.id);
    expect((await end(running[1] as Operation)).next?.id).toBe(scheduled?.id);
    const [question] = await accept(1, { organizationId, operationType: "check" });
    await accept(1, { organizationId });
    expect((await end(running[2] as Operation)).next?.id).toBe(question?.id);
  });

  test("each to another one, where several end at once", async () => {
    const { organizationId, running, waits } = await full(2);
    const ends = await Promise.all(running.map((operation) => end(operation)));
    expect(ends.map(({ next }) => next?.id)).toEqual([waits[0]?.id, waits[1]?.id, undefined]);
    const holders = (await slotsOf(organizationId)).map(({ holder }) => holder);
    expect(holders).toEqual([waits[0]?.id, waits[1]?.id, null]);
  });

  test("each to another one, where they end in two processes", async () => {
    const { running, waits } = await full(10);
    const other = new Ledger(bench.db, { concurrency: LIMIT });
    const ends = await Promise.all(
      running.map(({ id }, nr) => (nr === 1 ? other : ledger).finish(id, 1, SUCCEEDED, undefined, TAKER)),
    );
    const got = ends.flatMap(({ next }) => (next === null ? [] : [next.id]));
    expect(new Set(got).size).toBe(got.length);
    expect(got.every((id) => waits.some((one) => one.id === id))).toBe(true);
    const working = await bench.database.query("SELECT FROM operations WHERE leased_by IS NOT NULL");
    expect(working).toHaveLength(got.length);
  });

  test("together with what else the end writes, or not at all", async () => {
    const { organizationId, running, waits } = await full(1);
    const [first] = running as [Operation];
    const broken = ledger.finish(
      first.id,
      1,
      SUCCEEDED,
      async () => {
        throw new Error("no");
      },
      TAKER,
    );
    await expect(broken).rejects.toThrow("no");
    expect(await bench.row(waits[0]?.id ?? "")).toMatchObject({ status: "pending", attempt: 0 });
    expect((await slotsOf(organizationId))[0]?.holder).toBe(first.id);
    const { next } = await ledger.finish(first.id, 1, SUCCEEDED, async () => {}, TAKER);
    expect(next?.id).toBe(waits[0]?.id);
    expect((await slotsOf(organizationId))[0]?.holder).toBe(next?.id);
  });
});

test("an end costs the same, however many wait and whatever is known of them", {
  timeout: 120_000,
}, async () => {
  const { organizationId, running } = await full(0);
  const ref = { id: running[0]?.id ?? "", attempt: 1 };
  const finish = await firstStatement((db) => new AttemptWrites(db, LIMIT).finish(ref, SUCCEEDED, TAKER));
  class TakenBack extends Error {}
  const pages = async (): Promise<number> => {
    let read = 0;
    const done = bench.db.transaction(async (tx) => {
      const { plan, pages: pagesRead } = await explained(tx, finish);
      expect(plan["Actual Rows"]).toBe(1);
      read = pagesRead;
      throw new TakenBack();
    });
    await expect(done).rejects.toThrow(TakenBack);
    return read;
  };
  const insert = (status: string, organization: string, count: number) =>
    bench.database.query(
      `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, timeout_seconds, created_by,
         status, finished_at)
       SELECT gen_random_uuid(), ${organization}, 'sync', 'run', gen_random_uuid(), 60, '{}', $1::operation_status,
         CASE WHEN $1 = 'succeeded' THEN now() END FROM generate_series(1, $2::int) n`,
      [status, count],
    );
  // As known: each of many organizations has a few.
  await insert("succeeded", "md5((n % 1000)::text)::uuid", 20_000);
  await insert("pending", `'${organizationId}'`, 50);
  await bench.database.query("ANALYZE operations");
  const few = await pages();
  await insert("pending", `'${organizationId}'`, 50_000);
  expect(await pages()).toBeLessThan(few * 1.5 + 50);
});

describe("an end passes its slot on to nobody", () => {
  test("where nobody is there to go on", async () => {
    const { organizationId, running, waits } = await full(1);
    expect(await end(running[0] as Operation, null)).toEqual({ wasFull: true, next: null });
    expect((await slotsOf(organizationId))[0]?.holder).toBeNull();
    expect(await claim(waits[0] as Operation)).not.toBeNull();
  });

  test("where another organization waits: who comes next is decided among all", async () => {
    for (const other of ["00000000-0000-7000-8000-000000000000", "ffffffff-0000-7000-8000-000000000000"]) {
      const { running } = await full(1);
      await accept(1, { organizationId: other });
      expect(await end(running[0] as Operation)).toMatchObject({ wasFull: true, next: null });
      await bench.database.query("TRUNCATE operations, operation_slots CASCADE");
    }
  });

  test("where operations of another region wait", async () => {
    const { organizationId, running } = await full(1);
    await accept(1, { organizationId, region: "here" });
    expect(await end(running[0] as Operation)).toMatchObject({ next: null });
  });

  test("where the taker does not serve their region, else it does", async () => {
    const { running, waits } = await full(1, { region: "here" });
    const elsewhere = { ...TAKER, regions: ["elsewhere"] };
    expect(await end(running[0] as Operation, elsewhere)).toMatchObject({ next: null });
    expect((await end(running[1] as Operation)).next?.id).toBe(waits[0]?.id);
  });

  test("where its organization may have fewer at work by now", async () => {
    const { organizationId, running } = await full(1);
    await bench.database.query("INSERT INTO organizations (id, name, concurrency) VALUES ($1, 'one', 1)", [
      organizationId,
    ]);
    expect(await end(running[1] as Operation)).toMatchObject({ next: null });
    expect((await end(running[0] as Operation)).next).not.toBeNull();
  });

  test("where what waits is to be cancelled, or has been given back", async () => {
    const { running, waits } = await full(1);
    await bench.db.transaction((tx) => requestCancel(tx, waits[0] as Operation));
    await ledger.handOver(running[1]?.id ?? "", 1);
    expect(await end(running[0] as Operation)).toMatchObject({ next: null });
  });
});
