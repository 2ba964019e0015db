import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { holdOperation, requestCancel } from "../../src/operations/cancel.js";
import { announce } from "../../src/operations/changes.js";
import type { Operation } from "../../src/operations/operation.js";
import type { HandlerContext, OperationHandler } from "../../src/worker/handler.js";
import { until } from "../support/until.js";
import { gate, openWorkerBench, untilAborted, type WorkerBench } from "../worker/support.js";
import type { OperationRow } from "./support.js";

let bench: WorkerBench;
beforeAll(async () => {
  bench = await openWorkerBench();
});
afterEach(() => bench.stopAll());
afterAll(() => bench.close());

const sync = (run: (context: HandlerContext) => Promise<unknown>): OperationHandler => ({
  type: "sync",
  run,
});

async function cancel({ id, organizationId }: Operation, signal = true): Promise<void> {
  await bench.db.transaction(async (tx) => {
    const operation = await holdOperation(tx, id, { organizationId, projects: null });
    if (operation === null) throw new Error("it was accepted");
    await requestCancel(tx, operation);
  });
  if (signal) await announce(bench.signals, id, "cancel");
}

const runs = (id: string): Promise<unknown> =>
  until("it runs", async () => (await bench.row(id)).status === "running");

test("a running handler's signal is aborted at once, not with the next heartbeat", async () => {
  await bench.start([sync(({ signal }) => untilAborted(signal))], {
    timing: { leaseMs: 60_000, heartbeatMs: 30_000 },
  });
  const operation = await bench.accept();
  await runs(operation.id);
  const asked = performance.now();
  await cancel(operation);
  expect(await bench.ended(operation.id)).toMatchObject({ status: "cancelled", result: null, error: null });
  expect(performance.now() - asked).toBeLessThan(2_000);
});

test("where the signal is lost, the heartbeat sees the flag", async () => {
  await bench.start([sync(({ signal }) => untilAborted(signal))]);
  const operation = await bench.accept();
  await runs(operation.id);
  await cancel(operation, false);
  expect((await bench.ended(operation.id)).status).toBe("cancelled");
});

test("past the point of no return it comes too late: the operation succeeds", async () => {
  const [committing, committed] = [gate(), gate()];
  const commit = async (signal: AbortSignal): Promise<object> => {
    committing.open();
    await committed.opened;
    return { aborted: signal.aborted };
  };
  await bench.start([
    sync((context) => context.step("commit", () => commit(context.signal), { final: true })),
  ]);
  const operation = await bench.accept();
  await committing.opened;
  await cancel(operation);
  committed.open();
  expect(await bench.ended(operation.id)).toMatchObject({ status: "succeeded", result: { aborted: false } });
});

describe("one whose worker died is ended by the next, which", () => {
  async function leftBehind(): Promise<string> {
    const operation = await bench.accept();
    await bench.database.query(
      "UPDATE operations SET status = 'running', attempt = 1, lease_expires_at = now() + interval '1 hour' WHERE id = $1",
      [operation.id],
    );
    await cancel(operation);
    return operation.id;
  }

  async function concluded(conclude: NonNullable<OperationHandler["conclude"]>): Promise<OperationRow> {
    const id = await leftBehind();
    const run = () => Promise.reject(new Error("the work is done again"));
    await bench.start([{ type: "sync", run, conclude }]);
    await bench.expireLease(id);
    const row = await bench.ended(id);
    await bench.stopAll();
    return row;
  }

  test("looks first whether the effect is there", async () => {
    const there = await concluded(async () => ({ result: "it was there" }));
    expect(there).toMatchObject({ status: "succeeded", result: "it was there", attempt: 2 });
    expect(await concluded(async () => null)).toMatchObject({ status: "cancelled", result: null });
  });

  test("looks again where it could not find out", async () => {
    let looks = 0;
    const row = await concluded(async () => {
      looks += 1;
      if (looks < 3) throw new Error("the store is away");
      return { result: "it was there" };
    });
    expect(row).toMatchObject({ status: "succeeded", attempt: 4 });
  });
});
