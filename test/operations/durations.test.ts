import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { OperationType } from "../../src/operations/catalog.js";
import { Durations } from "../../src/operations/durations.js";
import type { Operation, OperationStatus, Progress } from "../../src/operations/operation.js";
import { viewOperation } from "../../src/operations/view.js";
import { Database } from "../../src/platform/sql.js";
import { explained, firstStatement, LEASE_MS, type LedgerBench, openLedger, silent } from "./support.js";

let bench: LedgerBench;
beforeAll(async () => {
  bench = await openLedger();
});
afterAll(() => bench.close());

/** Operations of other organizations that took so long and ended just now. */
async function ended(
  operationType: OperationType,
  status: OperationStatus,
  seconds: number,
  many: number,
): Promise<void> {
  await bench.database.query(
    `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, status, timeout_seconds,
       created_by, created_at, started_at, finished_at)
     SELECT gen_random_uuid(), gen_random_uuid(), $1, 'any', gen_random_uuid(), $2, 1, '{}', at, at - $3 * interval '1 s', at
     FROM clock_timestamp() AS at, generate_series(1, $4)`,
    [operationType, status, seconds, many],
  );
}

const ago = (seconds: number): Date => new Date(Date.now() - seconds * 1_000);

/** One that runs since so many seconds; null: it waits. */
async function running(
  operationType: OperationType,
  since: number | null,
  progress: Progress = { percent: 0, message: "" },
): Promise<Operation> {
  const pending = await bench.accept({ operationType });
  return since === null ? pending : { ...pending, status: "running", startedAt: ago(since), progress };
}

describe("Retry-After", () => {
  test("is how long the last of that type took that succeeded, less what has passed", async () => {
    await ended("sync", "succeeded", 3_600, 20);
    await ended("sync", "succeeded", 12, 20);
    await ended("sync", "failed", 1, 40);
    await ended("sync", "cancelled", 7_200, 39);
    await ended("check", "succeeded", 1, 40);
    const durations = new Durations(bench.db);
    const at = async (since: number | null): Promise<number> =>
      durations.retryAfter(await running("sync", since));
    expect(await at(null)).toBe(12);
    expect(await at(7.5)).toBe(5);
    expect(await at(100)).toBe(1);
  });

  test("is what remains by what is measured, from 1 to 30 s, whatever others took", async () => {
    const durations = new Durations(bench.db);
    const at = async (share: number, since: number): Promise<number> => {
      const measured = { since: ago(since).toISOString(), share };
      return durations.retryAfter(await running("sync", 1_000, { percent: 1, message: "", measured }));
    };
    // Rounded up: a moment has passed since.
    expect(await at(0.5, 9.1)).toBe(10);
    expect(await at(0.1, 100)).toBe(30);
    expect(await at(0.999, 10)).toBe(1);
  });

  test("of a deployment that is being made goes by what others took, not by the number of its phase", async () => {
    await ended("deployment.create", "succeeded", 2.5, 20);
    const durations = new Durations(bench.db);
    for (const [percent, since, expected] of [
      [5, 1, 2],
      [60, 2, 1],
      [60, 10, 1],
    ] as const) {
      const making = await running("deployment.create", since, { percent, message: "starting the server" });
      expect(await durations.retryAfter(making)).toBe(expected);
      expect(viewOperation(making, Date.now()).progress.secondsLeft).toBeNull();
    }
  });

  test("is 1 s where none has succeeded", async () => {
    await ended("deployment.pause", "failed", 20, 5);
    const durations = new Durations(bench.db);
    expect(await durations.retryAfter(await running("deployment.pause", null))).toBe(1);
  });
});

test("the time left is not known before anything is counted, nor when all is counted and something remains", async () => {
  for (const share of [0, 0.001, 1, 1.01]) {
    const measured = { since: ago(10).toISOString(), share };
    const operation = await running("sync", 10, { percent: 50, message: "", measured });
    const { progress } = viewOperation(operation, Date.now());
    expect(progress).toEqual({ percent: 50, message: "", secondsLeft: null });
  }
});

test("how long operations take is read at one cost, however many have ended", async () => {
  const asked = await firstStatement((db) => new Durations(db).median("deployment.resume"));
  const pages = async (many: number): Promise<number> => {
    await ended("deployment.resume", "failed", 1, many);
    await bench.database.query("ANALYZE operations");
    return (await explained(bench.db, asked)).pages;
  };
  const few = await pages(200);
  expect(await pages(20_000)).toBeLessThan(few + 50);
});

test("how long operations take can be asked in transactions that hold every connection", async () => {
  const { id } = await bench.accept();
  await bench.ledger.claim(id, "worker", LEASE_MS);
  await bench.ledger.finish(id, 1, { status: "succeeded", result: null });
  const db = new Database(bench.database.url, 1, silent);
  const durations = new Durations(db);
  await db.transaction(async (tx) => {
    // Somebody without a transaction asks first, and gets no connection before this one ends.
    void durations.median("sync");
    expect(await durations.median("sync", tx)).not.toBeNull();
  });
  // It got one then, and has not given up.
  expect(await durations.median("sync")).not.toBeNull();
  await db.close();
});
