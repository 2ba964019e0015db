import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { IdempotencyKeys, type Repeatable } from "../../src/operations/idempotency.js";
import { type Keeping, LeaseLostError, Ledger } from "../../src/operations/ledger.js";
import type { Operation } from "../../src/operations/operation.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { newId } from "../../src/platform/ids.js";
import { until } from "../support/until.js";
import { LEASE_MS, type LedgerBench, lockless, openLedger } from "./support.js";

let bench: LedgerBench;
beforeAll(async () => {
  bench = await openLedger();
});
afterAll(() => bench.close());

const SUCCESS = { status: "succeeded", result: { rows: 3 } } as const;

function accept(count: number, organizationId = newId()): Promise<Operation[]> {
  return Promise.all(Array.from({ length: count }, () => bench.accept({ organizationId })));
}

const claimAll = (operations: readonly Operation[], ledger = bench.ledger) =>
  Promise.all(operations.map(({ id }) => ledger.claim(id, "worker", LEASE_MS)));

/** How many statements the ledger sends for some work. */
async function statementsOf<T>(work: () => Promise<T>): Promise<[result: T, statements: number]> {
  const rows = vi.spyOn(bench.db, "rows");
  try {
    return [await work(), rows.mock.calls.length];
  } finally {
    rows.mockRestore();
  }
}

describe("what a process writes at once", () => {
  test("goes in one statement for all claims, for all notes and for all ends", async () => {
    const operations = await accept(10);
    // Their organization's slots are there.
    await claimAll(await accept(1, operations[0]?.organizationId));
    const [claimed, claims] = await statementsOf(() => claimAll(operations));
    expect(claimed.map((each) => each?.id)).toEqual(operations.map(({ id }) => id));
    expect(claims).toBe(1);
    const progress = (id: string) => ({ percent: 1, message: id });
    const [, notes] = await statementsOf(() =>
      Promise.all(operations.map(({ id }) => bench.ledger.recordProgress(id, 1, progress(id)))),
    );
    expect(notes).toBe(1);
    for (const { id } of operations) expect((await bench.row(id)).progress).toEqual(progress(id));
    const [, ends] = await statementsOf(() =>
      Promise.all(operations.map(({ id }) => bench.ledger.finish(id, 1, { ...SUCCESS, result: id }))),
    );
    expect(ends).toBe(1);
    for (const { id } of operations)
      expect(await bench.row(id)).toMatchObject({ status: "succeeded", result: id });
  });

  test("gets no more slots than each organization has, and each its own", async () => {
    const ledger = new Ledger(bench.db, { concurrency: 3 });
    const mine = await accept(5);
    const yours = await accept(2);
    const claimed = await claimAll([...mine, ...yours], ledger);
    expect(claimed.map((each) => each !== null)).toEqual([true, true, true, false, false, true, true]);
    const slots = await bench.database.query<{ operation_id: string }>(
      "SELECT operation_id FROM operation_slots WHERE organization_id = $1 ORDER BY slot",
      [mine[0]?.organizationId],
    );
    expect(slots.map((slot) => slot.operation_id)).toEqual(mine.slice(0, 3).map(({ id }) => id));
    for (const { id } of mine.slice(3)) expect(await bench.row(id)).toMatchObject({ status: "pending" });
    // A slot that an end frees is there for the next.
    expect(await ledger.finish(mine[0]?.id ?? "", 1, SUCCESS)).toMatchObject({ wasFull: true });
    expect(await claimAll(mine.slice(3), ledger)).toMatchObject([{ id: mine[3]?.id }, null]);
  });

  test("is taken once where it is the same operation", async () => {
    const [operation] = await accept(1);
    const claimed = await Promise.all(
      Array.from({ length: 5 }, () => bench.ledger.claim(operation?.id ?? "", "worker", LEASE_MS)),
    );
    expect(claimed.filter((each) => each !== null)).toHaveLength(1);
    const ends = await Promise.allSettled(
      Array.from({ length: 5 }, () => bench.ledger.finish(operation?.id ?? "", 1, SUCCESS)),
    );
    expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  test("is refused where another attempt has taken over, there alone", async () => {
    const operations = await accept(3);
    const [before, late, behind] = operations.map(({ id }) => id);
    await claimAll(operations);
    await bench.expireLease(late ?? "");
    expect(await bench.ledger.claim(late ?? "", "successor", LEASE_MS)).toMatchObject({ attempt: 2 });
    const ends = [before, late, behind].map((id) => bench.ledger.finish(id ?? "", 1, SUCCESS));
    const [first, second, third] = await Promise.allSettled(ends);
    expect([first?.status, third?.status]).toEqual(["fulfilled", "fulfilled"]);
    expect(second).toMatchObject({ reason: expect.any(LeaseLostError) });
    expect(await bench.row(late ?? "")).toMatchObject({ status: "running", attempt: 2, result: null });
  });

  test("waits for no row but its own that somebody else holds", async () => {
    const operations = await accept(3);
    const [before, held, behind] = operations.map(({ id }) => id);
    await claimAll(operations);
    await bench.db.transaction(async (tx) => {
      await tx.rows("SELECT 1 FROM operations WHERE id = $1 FOR UPDATE", [held]);
      let ended = false;
      const end = bench.ledger.finish(held ?? "", 1, SUCCESS).then(() => {
        ended = true;
      });
      await Promise.all([before, behind].map((id) => bench.ledger.finish(id ?? "", 1, SUCCESS)));
      await until("the end waits for the row", () => bench.isWaited("ended AS ("));
      expect(ended).toBe(false);
      tx.afterCommit(() => void end);
    });
    await until("it has ended", async () => (await bench.row(held ?? "")).status === "succeeded");
  });

  test("is not spoiled by what the database refuses of it", async () => {
    const operations = await accept(2);
    await claimAll(await accept(1, operations[0]?.organizationId));
    const ids = [operations[0]?.id ?? "", "no uuid", operations[1]?.id ?? ""];
    const [first, second, third] = await Promise.allSettled(
      ids.map((id) => bench.ledger.claim(id, "worker", LEASE_MS)),
    );
    expect(first).toMatchObject({ value: { id: ids[0], attempt: 1 } });
    expect(second).toMatchObject({ reason: { code: "22P02" } });
    expect(third).toMatchObject({ value: { id: ids[2], attempt: 1 } });
  });
});

describe("what is accepted at once", () => {
  let keys: IdempotencyKeys;
  beforeAll(() => {
    keys = new IdempotencyKeys(bench.db, new MasterKey(MasterKey.generate()));
  });

  const request = (): Repeatable => ({
    ...{ id: randomBytes(32), requestHash: randomBytes(32), method: "POST", path: "/noop", projects: null },
  });
  const keeping =
    (kept: Repeatable): Keeping =>
    async ({ id }) => {
      const taking = keys.takingOf(kept, newId(), { status: 202, headers: {}, body: id });
      return () => taking;
    };
  const acceptedIn = async (organizationId: string): Promise<string[]> => {
    const text = "SELECT id FROM operations WHERE organization_id = $1 ORDER BY id";
    return (await bench.database.query<{ id: string }>(text, [organizationId])).map(({ id }) => id);
  };

  test("is accepted in one statement, for each organization and with its own answer", async () => {
    const wishes = Array.from({ length: 10 }, () => lockless());
    const requests = wishes.map(request);
    const [accepted, statements] = await statementsOf(() =>
      Promise.all(wishes.map((one, nr) => bench.ledger.accept(one, keeping(requests[nr] as Repeatable)))),
    );
    expect(statements).toBe(1);
    expect(accepted.map((one) => one.organizationId)).toEqual(wishes.map((one) => one.organizationId));
    for (const [nr, operation] of accepted.entries()) {
      expect(await keys.find(requests[nr]?.id as Uint8Array)).toMatchObject({
        answer: { status: 202, body: operation.id },
      });
      // What was told of it before it was written is what stands there.
      const visible = { organizationId: operation.organizationId, projects: null };
      expect(await bench.ledger.read(operation.id, visible)).toEqual(operation);
    }
  });

  test("is there with its key or not at all, whatever becomes of the others", async () => {
    const organizationId = newId();
    const taken = request();
    await bench.ledger.accept(lockless(), keeping(taken));
    const hungUp = new Error("the client has hung up");
    const [accepted, statements] = await statementsOf(() =>
      Promise.allSettled([
        bench.ledger.accept(lockless({ organizationId }), keeping(request())),
        bench.ledger.accept(lockless({ organizationId }), keeping(taken)),
        bench.ledger.accept(lockless({ organizationId }), async () => () => {
          throw hungUp;
        }),
        bench.ledger.accept(lockless({ organizationId })),
      ]),
    );
    const [before, refused, gone, behind] = accepted;
    // One for all, and another that finds out why the second was left out.
    expect(statements).toBe(2);
    expect(refused).toMatchObject({ reason: { code: "conflict", details: { retryAfter: 1 } } });
    expect(gone).toMatchObject({ reason: hungUp });
    const ids = [before, behind].map((one) => (one?.status === "fulfilled" ? one.value.id : ""));
    expect(await acceptedIn(organizationId)).toEqual(ids.sort());
  });

  test("is accepted once under one key", async () => {
    const organizationId = newId();
    const once = request();
    const accepted = await Promise.allSettled(
      Array.from({ length: 5 }, () => bench.ledger.accept(lockless({ organizationId }), keeping(once))),
    );
    const [id] = accepted.flatMap((one) => (one.status === "fulfilled" ? [one.value.id] : []));
    expect(accepted.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await acceptedIn(organizationId)).toEqual([id]);
    expect(await keys.find(once.id)).toMatchObject({ answer: { body: id } });
  });

  test("waits for no key but its own that another process holds", async () => {
    const held = request();
    const answer = { status: 200, headers: {}, body: "theirs" };
    const { blocked } = await bench.db.transaction(async (tx) => {
      await keys.keep(tx, held, newId(), answer);
      let ended = false;
      const waiting = bench.ledger.accept(lockless(), keeping(held)).finally(() => {
        ended = true;
      });
      waiting.catch(() => {});
      await bench.ledger.accept(lockless(), keeping(request()));
      expect(ended).toBe(false);
      return { blocked: waiting };
    });
    await expect(blocked).rejects.toMatchObject({ code: "conflict" });
    expect(await keys.find(held.id)).toMatchObject({ answer: { body: "theirs" } });
  });
});
