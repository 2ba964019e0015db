import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LeaseLostError } from "../../src/operations/ledger.js";
import type { LockTarget } from "../../src/operations/new-operation.js";
import type { Outcome } from "../../src/operations/operation.js";
import { newId } from "../../src/platform/ids.js";
import { until } from "../support/until.js";
import { LEASE_MS, type LedgerBench, openLedger, wish } from "./support.js";

let bench: LedgerBench;
beforeAll(async () => {
  bench = await openLedger();
});
afterAll(async () => {
  await bench.close();
});

const SUCCEEDED: Outcome = { status: "succeeded", result: { rows: 1 } };
const nothing = async (): Promise<void> => {};

function jobLock(): LockTarget {
  return { type: "job:run", id: newId() };
}

describe("accepting", () => {
  test("the operation, its locks and the caller's own effect appear together", async () => {
    const lock = jobLock();
    const organization = newId();
    const operation = await bench.db.transaction(async (tx) => {
      await tx.run("INSERT INTO organizations (id, name) VALUES ($1, 'acme')", [organization]);
      return bench.ledger.request(tx, wish({ locks: [lock] }));
    });
    expect(operation).toMatchObject({ status: "pending", attempt: 0, result: null, error: null });
    expect(await bench.locks(operation.id)).toEqual([lock]);
    expect(
      await bench.database.query("SELECT 1 FROM organizations WHERE id = $1", [organization]),
    ).toHaveLength(1);
  });

  test("nothing of it is left where the caller's transaction fails", async () => {
    const lock = jobLock();
    const failing = bench.db.transaction(async (tx) => {
      await bench.ledger.request(tx, wish({ locks: [lock] }));
      throw new Error("the caller's own effect failed");
    });
    await expect(failing).rejects.toThrow("the caller's own effect failed");
    const again = await bench.accept({ locks: [lock] });
    expect(await bench.locks(again.id)).toEqual([lock]);
  });

  test("a second operation on a locked resource is a conflict that names the first, and leaves nothing", async () => {
    const shared = jobLock();
    const other = jobLock();
    const first = await bench.accept({ locks: [shared] });
    const organizationId = newId();
    await expect(bench.accept({ organizationId, locks: [other, shared] })).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining(first.id),
      details: { operationId: first.id },
    });
    const left = await bench.database.query("SELECT 1 FROM operations WHERE organization_id = $1", [
      organizationId,
    ]);
    expect(left).toEqual([]);
    // The lock that was free is still free.
    await bench.accept({ locks: [other] });
  });

  test("of many at once on one resource exactly one is accepted, and all others name it", async () => {
    const lock = jobLock();
    const tries = await Promise.allSettled(Array.from({ length: 20 }, () => bench.accept({ locks: [lock] })));
    const accepted = tries.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(accepted).toHaveLength(1);
    const named = tries.flatMap((one) =>
      one.status === "rejected"
        ? [(one.reason as { details: { operationId?: string } }).details.operationId]
        : [],
    );
    expect(new Set(named)).toEqual(new Set([accepted[0]?.id]));
  });

  test("commands on the same two resources, named in opposite order, never deadlock", async () => {
    const [a, b] = [jobLock(), jobLock()];
    const tries = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => bench.accept({ locks: i % 2 === 0 ? [a, b] : [b, a] })),
    );
    expect(tries.filter((one) => one.status === "fulfilled")).toHaveLength(1);
    for (const one of tries)
      if (one.status === "rejected") expect(one.reason).toMatchObject({ code: "conflict" });
  });

  test("a resource named twice is locked once", async () => {
    const lock = jobLock();
    const operation = await bench.accept({ locks: [lock, { ...lock }] });
    expect(await bench.locks(operation.id)).toEqual([lock]);
  });
});

describe("claiming", () => {
  test("of many workers at once exactly one gets the operation", async () => {
    const { id } = await bench.accept();
    const claims = await Promise.all(
      Array.from({ length: 20 }, (_, i) => bench.ledger.claim(id, `worker ${i}`, LEASE_MS)),
    );
    const [claimed, ...others] = claims.filter((claim) => claim !== null);
    expect(others).toEqual([]);
    expect(claimed).toMatchObject({ id, status: "running", attempt: 1, startedAt: expect.any(Date) });
  });

  test("an operation of a region is claimed by a worker that serves it alone", async () => {
    const { id } = await bench.accept({ region: "north" });
    expect(await bench.ledger.claim(id, "worker", LEASE_MS)).toBeNull();
    expect(await bench.ledger.claim(id, "worker", LEASE_MS, ["south"])).toBeNull();
    expect(await bench.ledger.claim(id, "worker", LEASE_MS, ["south", "north"])).toMatchObject({
      attempt: 1,
      region: "north",
    });
  });

  test("a live lease cannot be claimed; one that ran out can, with the next attempt", async () => {
    const { id } = await bench.accept();
    const first = await bench.ledger.claim(id, "first", LEASE_MS);
    expect(await bench.ledger.claim(id, "second", LEASE_MS)).toBeNull();
    await bench.expireLease(id);
    const second = await bench.ledger.claim(id, "second", LEASE_MS);
    expect(second).toMatchObject({ attempt: 2, startedAt: first?.startedAt });
  });

  test("a lease that is renewed stays live", async () => {
    const { id } = await bench.accept();
    await bench.ledger.claim(id, "first", 1);
    await bench.ledger.renew(id, 1, LEASE_MS);
    expect(await bench.ledger.claim(id, "second", LEASE_MS)).toBeNull();
  });

  test("what is done or does not exist cannot be claimed", async () => {
    const { id } = await bench.accept();
    await bench.ledger.claim(id, "first", LEASE_MS);
    await bench.ledger.finish(id, 1, SUCCEEDED, nothing);
    expect(await bench.ledger.claim(id, "second", LEASE_MS)).toBeNull();
    expect(await bench.ledger.claim(newId(), "second", LEASE_MS)).toBeNull();
  });

  test("a renewal tells that a cancellation was asked for", async () => {
    const { id } = await bench.accept();
    await bench.ledger.claim(id, "first", LEASE_MS);
    expect(await bench.ledger.renew(id, 1, LEASE_MS)).toEqual({ cancelRequested: false });
    await bench.database.query(
      "UPDATE operations SET status = 'cancelling', cancel_requested_at = now() WHERE id = $1",
      [id],
    );
    expect(await bench.ledger.renew(id, 1, LEASE_MS)).toEqual({ cancelRequested: true });
  });
});

describe("an attempt that was taken over", () => {
  test("changes nothing with any of its writes", async () => {
    const lock = jobLock();
    const { id } = await bench.accept({ locks: [lock] });
    await bench.ledger.claim(id, "sleeper", LEASE_MS);
    await bench.expireLease(id);
    await bench.ledger.claim(id, "successor", LEASE_MS);
    const before = await bench.row(id);

    const { ledger } = bench;
    let settled = false;
    const settle = async (): Promise<void> => {
      settled = true;
    };
    await expect(ledger.renew(id, 1, 600_000)).rejects.toThrow(LeaseLostError);
    await expect(ledger.recordProgress(id, 1, { percent: 99, message: "late" })).rejects.toThrow(
      LeaseLostError,
    );
    await expect(ledger.recordSteps(id, 1, [])).rejects.toThrow(LeaseLostError);
    await expect(ledger.fenced(id, 1, settle)).rejects.toThrow(LeaseLostError);
    await expect(ledger.finish(id, 1, SUCCEEDED, settle)).rejects.toThrow(LeaseLostError);
    await ledger.handOver(id, 1);

    expect(settled).toBe(false);
    expect(await bench.row(id)).toEqual(before);
    expect(await bench.locks(id)).toEqual([lock]);
  });

  test.each(["that gave it back", "that died"])(
    "what an attempt %s has measured is no estimate for the next one",
    async (how) => {
      const { id } = await bench.accept();
      await bench.ledger.claim(id, "first", LEASE_MS);
      const measured = { since: new Date().toISOString(), share: 0.9 };
      await bench.ledger.recordProgress(id, 1, { percent: 90, message: "90 rows", measured });
      if (how === "that died") await bench.expireLease(id);
      else await bench.ledger.handOver(id, 1);
      if (how !== "that died")
        expect((await bench.row(id)).progress).toEqual({ percent: 90, message: "90 rows" });
      const second = await bench.ledger.claim(id, "second", LEASE_MS);
      expect(second?.progress).toEqual({ percent: 90, message: "90 rows" });
    },
  );

  test("changes nothing after its successor has finished", async () => {
    const { id } = await bench.accept();
    await bench.ledger.claim(id, "sleeper", LEASE_MS);
    await bench.expireLease(id);
    await bench.ledger.claim(id, "successor", LEASE_MS);
    await bench.ledger.finish(id, 2, SUCCEEDED, nothing);
    const before = await bench.row(id);
    await expect(bench.ledger.finish(id, 1, { status: "cancelled" }, nothing)).rejects.toThrow(
      LeaseLostError,
    );
    await expect(bench.ledger.finish(id, 2, { status: "cancelled" }, nothing)).rejects.toThrow(
      LeaseLostError,
    );
    expect(await bench.row(id)).toEqual(before);
  });

  test("cannot be taken over in the midst of a transaction of its own", async () => {
    const { id } = await bench.accept();
    await bench.ledger.claim(id, "first", 1);
    await until("the lease has run out", async () => {
      const { lease_expires_at } = await bench.row(id);
      return lease_expires_at !== null && lease_expires_at.getTime() < Date.now();
    });
    const order: string[] = [];
    let claiming: Promise<unknown> = Promise.resolve();
    await bench.ledger.fenced(id, 1, async () => {
      claiming = bench.ledger.claim(id, "second", LEASE_MS).then(() => order.push("claimed"));
      await until("the claim waits", () => bench.isWaited("wanted AS ("));
      order.push("written");
    });
    await claiming;
    expect(order).toEqual(["written", "claimed"]);
  });
});
