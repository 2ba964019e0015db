import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { LeaseLostError, Ledger } from "../../src/operations/ledger.js";
import type { Progress } from "../../src/operations/operation.js";
import { Attempt } from "../../src/worker/attempt.js";
import {
  type HandlerContext,
  OperationFailure,
  type OperationHandler,
  problem,
} from "../../src/worker/handler.js";
import { LEASE_MS, silent } from "../operations/support.js";
import { until } from "../support/until.js";
import { gate, openWorkerBench, untilAborted, type WorkerBench } from "./support.js";

let bench: WorkerBench;
beforeAll(async () => {
  bench = await openWorkerBench();
});
afterEach(async () => {
  await bench.stopAll();
});
afterAll(async () => {
  await bench.close();
});

function sync(run: (context: HandlerContext) => Promise<unknown>): OperationHandler {
  return { type: "sync", run };
}

/** Runs a handler in two attempts: the first is handed over as soon as it has called `interrupted`. */
async function inTwoAttempts(run: (context: HandlerContext, interrupted: () => void) => Promise<unknown>) {
  const reached = gate();
  const first = await bench.start([sync((context) => run(context, reached.open))]);
  const { id } = await bench.accept();
  await reached.opened;
  await first.stop(0);
  await bench.start([sync((context) => run(context, reached.open))]);
  return bench.ended(id);
}

describe("a step", () => {
  test("is recorded when it has happened, and a later attempt skips it and gets what it returned", async () => {
    const done: string[] = [];
    const row = await inTwoAttempts(async (context, interrupted) => {
      const { attempt } = context.operation;
      const made = await context.step("make", async () => {
        done.push(`make in attempt ${attempt}`);
        return { name: "a store" };
      });
      if (attempt === 1) {
        interrupted();
        await untilAborted(context.signal);
      }
      return context.step("use", async () => `used ${made.name}`);
    });
    expect(done).toEqual(["make in attempt 1"]);
    expect(row).toMatchObject({ status: "succeeded", attempt: 2, result: "used a store" });
    expect(row.steps).toMatchObject([
      { name: "make", status: "succeeded" },
      { name: "use", status: "succeeded" },
    ]);
  });

  test("with `repeat` is done by every attempt", async () => {
    const done: number[] = [];
    const row = await inTwoAttempts(async (context, interrupted) => {
      const { attempt } = context.operation;
      await context.step("copy", async () => void done.push(attempt), { repeat: true });
      if (attempt > 1) return;
      interrupted();
      await untilAborted(context.signal);
    });
    expect(done).toEqual([1, 2]);
    expect(row.steps).toMatchObject([{ name: "copy", status: "succeeded" }]);
  });

  test("that an attempt did not finish is done again", async () => {
    const begun: number[] = [];
    const row = await inTwoAttempts(async (context, interrupted) => {
      await context.step("work", async () => {
        begun.push(context.operation.attempt);
        if (begun.length > 1) return;
        interrupted();
        await untilAborted(context.signal);
      });
    });
    expect(begun).toEqual([1, 2]);
    expect(row.steps).toMatchObject([{ name: "work", status: "succeeded" }]);
  });

  test("begins without waiting until that is written, as long as the lease is new", async () => {
    const begun = gate();
    const written = gate();
    class SlowLedger extends Ledger {
      override async recordSteps(...args: Parameters<Ledger["recordSteps"]>): Promise<void> {
        await written.opened;
        return super.recordSteps(...args);
      }
    }
    await bench.start([sync((context) => context.step("work", async () => begun.open()))], {
      ledger: new SlowLedger(bench.db),
    });
    const { id } = await bench.accept();
    await begun.opened;
    expect((await bench.row(id)).steps).toEqual([]);
    written.open();
    expect((await bench.ended(id)).steps).toMatchObject([{ name: "work", status: "succeeded" }]);
  });

  test("does not begin before that is written where it is the last one, or its handler says so", async () => {
    const seen: unknown[] = [];
    const options = [{ final: true }, { recordFirst: true }];
    await bench.start([
      sync(async (context) => {
        for (const [nr, option] of options.entries())
          await context.step(
            `part ${nr}`,
            async () => void seen.push((await bench.row(context.operation.id)).steps.at(-1)),
            option,
          );
      }),
    ]);
    const { id } = await bench.accept();
    await bench.ended(id);
    expect(seen).toMatchObject([
      { name: "part 0", status: "running" },
      { name: "part 1", status: "running" },
    ]);
  });

  test("of an attempt that slept past its lease does not begin", async () => {
    const { id } = await bench.accept();
    const claim = () => bench.ledger.claim(id, "worker", LEASE_MS);
    const operation = await until("nobody else has it", claim);
    const attempt = new Attempt(bench.ledger, operation, silent);
    // So long ago, by the clock of its process, that somebody else may have it.
    attempt.begin(LEASE_MS, 60_000, performance.now() - LEASE_MS);
    await bench.expireLease(id);
    expect(await claim()).toMatchObject({ attempt: 2 });
    const work = vi.fn(async () => {});
    await expect(attempt.step("work", work)).rejects.toThrow(LeaseLostError);
    expect(work).not.toHaveBeenCalled();
    expect(attempt.stopReason).toBe("lease-lost");
    attempt.end();
    await bench.ledger.finish(id, 2, { status: "cancelled" });
  });

  test("that failed is recorded with the message for clients", async () => {
    await bench.start([
      sync((context) =>
        context.step("copy", async () => {
          throw new OperationFailure(problem("invalid-data", "Data", 422, "line 3 has two columns"));
        }),
      ),
    ]);
    const { id } = await bench.accept();
    const row = await bench.ended(id);
    expect(row.steps).toMatchObject([{ name: "copy", status: "failed", message: "line 3 has two columns" }]);
  });

  test("is not lost when others end at the same time", async () => {
    await bench.start([
      sync(async (context) => {
        const names = Array.from({ length: 20 }, (_, i) => `part ${i}`);
        await Promise.all(names.map((name) => context.step(name, async () => name)));
      }),
    ]);
    const { id } = await bench.accept();
    const { steps } = await bench.ended(id);
    expect(steps.filter(({ status }) => status === "succeeded")).toHaveLength(20);
  });
});

describe("progress", () => {
  test("is written some times a second, however often it is told, and the last of it at the end", async () => {
    class CountingLedger extends Ledger {
      written: Progress[] = [];

      override recordProgress(id: string, attempt: number, progress: Progress): Promise<void> {
        this.written.push(progress);
        return super.recordProgress(id, attempt, progress);
      }
    }
    const ledger = new CountingLedger(bench.db);
    let told = 0;
    const failing = sync(async (context) => {
      const end = performance.now() + 1_300;
      while (performance.now() < end) {
        context.progress({ percent: 1, message: `${++told} rows` });
        await new Promise((resolve) => setImmediate(resolve));
      }
      throw new OperationFailure(problem("failed", "Failed", 502, "so that the progress stays as it was"));
    });
    await bench.start([failing], { ledger });
    const { id } = await bench.accept();
    expect(await bench.ended(id)).toMatchObject({ progress: { message: `${told} rows` } });
    expect(told).toBeGreaterThan(100);
    expect(ledger.written.length).toBeGreaterThan(0);
    expect(ledger.written.length).toBeLessThanOrEqual(4);
  });

  test("is seen while the work goes on, and is right at its end", async () => {
    const end = gate();
    await bench.start([
      sync(async (context) => {
        context.progress({ percent: 40, message: "400 rows", rows: 400 });
        await end.opened;
        context.progress({ percent: 99, message: "1000 rows", rows: 1_000 });
      }),
    ]);
    const { id } = await bench.accept();
    await until("the progress is seen", async () => {
      const { progress } = await bench.row(id);
      return (progress as Progress).rows === 400;
    });
    end.open();
    expect(await bench.ended(id)).toMatchObject({ progress: { percent: 100, rows: 1_000 } });
  });
});
