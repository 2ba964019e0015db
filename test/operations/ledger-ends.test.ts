import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ListRequest } from "../../src/operations/listing.js";
import type { LockTarget } from "../../src/operations/new-operation.js";
import type { Outcome } from "../../src/operations/operation.js";
import { newId } from "../../src/platform/ids.js";
import { LEASE_MS, type LedgerBench, openLedger } from "./support.js";

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

describe("finishing", () => {
  test("frees the locks and writes what else is settled, in one transaction", async () => {
    const lock = jobLock();
    const { id } = await bench.accept({ locks: [lock], payloadSecrets: Buffer.from("sealed") });
    await bench.ledger.claim(id, "worker", LEASE_MS);
    const organization = newId();
    await bench.ledger.finish(id, 1, SUCCEEDED, async (tx) => {
      await tx.run("INSERT INTO organizations (id, name) VALUES ($1, 'settled')", [organization]);
    });
    expect(await bench.row(id)).toMatchObject({
      status: "succeeded",
      result: { rows: 1 },
      progress: { percent: 100 },
      lease_expires_at: null,
      payload_secrets: null,
    });
    expect(await bench.locks(id)).toEqual([]);
    expect(
      await bench.database.query("SELECT 1 FROM organizations WHERE id = $1", [organization]),
    ).toHaveLength(1);
    await bench.accept({ locks: [lock] });
  });

  test("is rolled back as a whole where settling fails", async () => {
    const lock = jobLock();
    const { id } = await bench.accept({ locks: [lock] });
    await bench.ledger.claim(id, "worker", LEASE_MS);
    const before = await bench.row(id);
    const organization = newId();
    const failing = bench.ledger.finish(id, 1, SUCCEEDED, async (tx) => {
      await tx.run("INSERT INTO organizations (id, name) VALUES ($1, 'settled')", [organization]);
      throw new Error("cannot be settled");
    });
    await expect(failing).rejects.toThrow("cannot be settled");
    expect(await bench.row(id)).toEqual(before);
    expect(await bench.locks(id)).toEqual([lock]);
    expect(await bench.database.query("SELECT 1 FROM organizations WHERE id = $1", [organization])).toEqual(
      [],
    );
  });

  test("text that jsonb refuses is kept with replacement characters", async () => {
    const { id } = await bench.accept();
    await bench.ledger.claim(id, "worker", LEASE_MS);
    const detail = "line 3: a\0b, half a pair \ud83d, a backslash \\u0000";
    const error = { type: "urn:gatehouse:error:invalid-data", title: "Data", status: 422, detail };
    await bench.ledger.finish(id, 1, { status: "failed", error }, nothing);
    expect((await bench.row(id)).error?.detail).toBe(
      "line 3: a\ufffdb, half a pair \ufffd, a backslash \\u0000",
    );
  });
});

describe("handing over", () => {
  test("lets another worker claim at once, with the steps so far", async () => {
    const { id } = await bench.accept();
    await bench.ledger.claim(id, "first", LEASE_MS);
    const step = { name: "copy", status: "succeeded", startedAt: "", finishedAt: "", message: null } as const;
    await bench.ledger.recordSteps(id, 1, [step]);
    await bench.ledger.handOver(id, 1);
    // Not sent before the queue has let go of it.
    expect(await bench.row(id)).toMatchObject({
      lease_expires_at: null,
      leased_by: null,
      dispatched_at: expect.any(Date),
    });
    await bench.ledger.resend([id]);
    expect(await bench.row(id)).toMatchObject({ dispatched_at: null });
    expect(await bench.ledger.claim(id, "second", LEASE_MS)).toMatchObject({ attempt: 2, steps: [step] });
  });

  test("with a pause, nobody can claim until it is over", async () => {
    const { id } = await bench.accept();
    await bench.ledger.claim(id, "first", LEASE_MS);
    await bench.ledger.handOver(id, 1, 60_000);
    expect(await bench.ledger.claim(id, "second", LEASE_MS)).toBeNull();
    await bench.expireLease(id);
    expect(await bench.ledger.claim(id, "second", LEASE_MS)).toMatchObject({ attempt: 2 });
  });
});

describe("reading", () => {
  test("an operation is seen by its organization and projects alone", async () => {
    const [organizationId, projectId] = [newId(), newId()];
    const { id } = await bench.accept({ organizationId, projectId });
    const { ledger } = bench;
    expect(await ledger.read(id, { organizationId, projects: null })).toMatchObject({ id });
    expect(await ledger.read(id, { organizationId, projects: [projectId] })).toMatchObject({ id });
    expect(await ledger.read(id, { organizationId, projects: [newId()] })).toBeNull();
    expect(await ledger.read(id, { organizationId: newId(), projects: null })).toBeNull();
    // Nor where others, who may see it, ask in the same moment.
    const seen = await Promise.all([
      ledger.read(id, { organizationId: newId(), projects: null }),
      ledger.read(id, { organizationId, projects: [newId(), projectId] }),
      ledger.read(id, { organizationId, projects: [] }),
      ledger.read(newId(), { organizationId, projects: null }),
      ledger.read(id, { organizationId, projects: null }),
    ]);
    expect(seen.map((operation) => operation?.id ?? null)).toEqual([null, id, null, null, id]);
  });

  test("lists are newest first and go on where the page before ended", async () => {
    const organizationId = newId();
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.unshift((await bench.accept({ organizationId })).id);
    const seenBy = { organizationId, projects: null };
    const filter = { status: null, operationType: null, resourceId: null, projectId: null, since: null };
    const page = { seenBy, filter, limit: 3, before: null };
    const first = await bench.ledger.list(page);
    const rest = await bench.ledger.list({ ...page, before: first.at(-1)?.id ?? null });
    expect([...first, ...rest].map(({ id }) => id)).toEqual(ids);
    expect(await bench.ledger.list({ ...page, filter: { ...filter, status: "failed" } })).toEqual([]);
  });

  test("lists of some projects have the newest of all of them, and of no other", async () => {
    const organizationId = newId();
    const [one, two, other] = [newId(), newId(), newId()];
    const accepted: { readonly id: string; readonly projectId: string | null }[] = [];
    for (const projectId of [one, other, two, one, null, two]) {
      accepted.unshift(await bench.accept({ organizationId, projectId }));
    }
    const ids = accepted.flatMap(({ id, projectId }) => (projectId === one || projectId === two ? [id] : []));
    const seenBy = { organizationId, projects: [one, two] };
    const filter = { status: null, operationType: null, resourceId: null, projectId: null, since: null };
    const listed = async (more: Partial<ListRequest>) =>
      (await bench.ledger.list({ seenBy, filter, limit: 3, before: null, ...more })).map(({ id }) => id);
    expect(await listed({})).toEqual(ids.slice(0, 3));
    expect(await listed({ before: ids[2] ?? null })).toEqual(ids.slice(3));
    expect(await listed({ limit: 9, filter: { ...filter, projectId: other } })).toEqual([]);
    for (const since of [new Date(0), new Date(-1e13), new Date(Date.now() - 60_000)])
      expect(await listed({ limit: 9, filter: { ...filter, since } })).toEqual(ids);
    expect(await listed({ filter: { ...filter, since: new Date(Date.now() + 3_600_000) } })).toEqual([]);
  });
});
