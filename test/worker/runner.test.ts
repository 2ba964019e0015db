import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { requestCancel } from "../../src/operations/cancel.js";
import { Ledger } from "../../src/operations/ledger.js";
import { newId } from "../../src/platform/ids.js";
import {
  type HandlerContext,
  Interruption,
  OperationFailure,
  type OperationHandler,
  problem,
} from "../../src/worker/handler.js";
import { LEASE_MS, wish } from "../operations/support.js";
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

describe("an operation", () => {
  test("that succeeds is recorded with its result, and everybody is told", async () => {
    const told: string[] = [];
    const end = bench.signals.subscribe("operation.changed", (id) => told.push(id));
    await bench.start([sync(async () => ({ rows: 3 }))]);
    const { id } = await bench.accept();
    expect(await bench.ended(id)).toMatchObject({ status: "succeeded", result: { rows: 3 }, attempt: 1 });
    await until("the signal came", () => told.includes(id));
    end();
  });

  test("that fails as expected is recorded with the problem, and what the handler settles", async () => {
    const settled: string[] = [];
    const failing: OperationHandler = {
      ...sync(async () => {
        throw new OperationFailure(
          problem("unreachable", "Store not reachable", 502, "no route to it", { line: 7 }),
        );
      }),
      settle: async (_tx, operation, outcome) => void settled.push(`${operation.id} ${outcome.status}`),
    };
    await bench.start([failing]);
    const { id } = await bench.accept();
    expect(await bench.ended(id)).toMatchObject({
      status: "failed",
      error: { type: "urn:gatehouse:error:unreachable", status: 502, detail: "no route to it", line: 7 },
    });
    expect(settled).toEqual([`${id} failed`]);
  });

  test("that fails by a fault of ours tells clients nothing of it, in its steps neither", async () => {
    await bench.start([
      sync((context) =>
        context.step("work", () => Promise.reject(new Error("relation secret_table does not exist"))),
      ),
    ]);
    const { id } = await bench.accept();
    const row = await bench.ended(id);
    expect(row).toMatchObject({ status: "failed", error: { type: "urn:gatehouse:error:internal" } });
    expect(row.steps).toMatchObject([{ name: "work", status: "failed", message: "an internal error" }]);
    expect(JSON.stringify(row)).not.toContain("secret_table");
  });

  test("of a type that no handler knows fails and says so", async () => {
    await bench.start([]);
    const { id } = await bench.accept({ operationType: "discover" });
    expect(await bench.ended(id)).toMatchObject({
      status: "failed",
      error: { type: "urn:gatehouse:error:unknown-type", detail: expect.stringContaining("discover") },
    });
  });

  test("whose workers died too often is given up, and its locks are free", async () => {
    let ran = false;
    await bench.start([
      sync(async () => {
        ran = true;
      }),
    ]);
    const lock = { type: "job:run", id: "0199b3c4-6f2e-7c55-9d4b-2f6f1c1f7a10" };
    const { id } = await bench.db.transaction(async (tx) => {
      const operation = await bench.ledger.request(tx, { ...wish(), locks: [lock] });
      await tx.run("UPDATE operations SET status = 'running', attempt = max_attempts WHERE id = $1", [
        operation.id,
      ]);
      return operation;
    });
    expect(await bench.ended(id)).toMatchObject({
      status: "failed",
      error: { type: "urn:gatehouse:error:abandoned" },
    });
    expect(ran).toBe(false);
    expect(await bench.locks(id)).toEqual([]);
  });

  test("that takes longer than it may is ended by force", async () => {
    let reason: unknown;
    await bench.start([
      sync(async ({ signal }) => {
        await untilAborted(signal).catch(() => {});
        reason = signal.reason;
        throw new Error("whatever breaks when it is stopped");
      }),
    ]);
    const { id } = await acceptWithTimeout(1);
    expect(await bench.ended(id)).toMatchObject({
      status: "failed",
      error: { type: "urn:gatehouse:error:timeout" },
    });
    expect(reason).toBe("timeout");
  });

  test("whose handler does not heed its signal is ended without it", async () => {
    const deaf = gate();
    await bench.start([sync(() => deaf.opened)]);
    const { id } = await acceptWithTimeout(1);
    expect(await bench.ended(id)).toMatchObject({
      status: "failed",
      error: { type: "urn:gatehouse:error:timeout" },
    });
    deaf.open();
  });

  test("that is cancelled in a later attempt ends as the earlier ones left it", async () => {
    const concluded: number[] = [];
    const interrupted = problem("unreachable", "Store not reachable", 502, "it went away");
    const handler = (result: unknown): OperationHandler => ({
      ...sync(async ({ operation, signal }) => {
        if (operation.attempt === 1) throw new Interruption(interrupted, 3, new Error("cut off"));
        await untilAborted(signal);
        signal.throwIfAborted();
      }),
      conclude: async ({ operation, signal }) => {
        signal.throwIfAborted();
        concluded.push(operation.attempt);
        return result === null ? null : { result };
      },
    });
    for (const [result, status] of [
      [null, "cancelled"],
      [{ rows: 3 }, "succeeded"],
    ] as const) {
      await bench.start([handler(result)]);
      const operation = await bench.accept();
      await until("it is tried again", async () => (await bench.row(operation.id)).attempt === 2);
      await bench.db.transaction((tx) => requestCancel(tx, operation));
      expect(await bench.ended(operation.id)).toMatchObject({ status, result });
      await bench.stopAll();
    }
    expect(concluded).toEqual([3, 3]);
  });

  test("whose cancellation is asked for is cancelled", async () => {
    await bench.start([sync(({ signal }) => untilAborted(signal))]);
    const { id } = await bench.accept();
    await until("it runs", async () => (await bench.row(id)).status === "running");
    await bench.database.query(
      "UPDATE operations SET status = 'cancelling', cancel_requested_at = now() WHERE id = $1",
      [id],
    );
    expect(await bench.ended(id)).toMatchObject({ status: "cancelled", error: null, result: null });
  });
});

/** Operations of one organization, which may have one at work. */
async function acceptInLine(count: number): Promise<string[]> {
  const organizationId = newId();
  await bench.database.query("INSERT INTO organizations (id, name, concurrency) VALUES ($1, 'one', 1)", [
    organizationId,
  ]);
  await bench.database.query("INSERT INTO operation_slots (organization_id, slot) VALUES ($1, 1)", [
    organizationId,
  ]);
  const ids: string[] = [];
  for (let i = 0; i < count; i++) ids.push((await bench.accept({ organizationId })).id);
  return ids;
}

describe("a worker", () => {
  test("goes on with the next of the line when one has ended, though it was not sent", async () => {
    const order: string[] = [];
    const ids = await acceptInLine(5);
    await bench.start([sync(async ({ operation }) => void order.push(operation.id))]);
    await bench.ended(ids.at(-1) ?? "");
    expect(order).toEqual(ids);
    const [first, ...others] = await Promise.all(ids.map((id) => bench.row(id)));
    expect(first?.dispatched_at).not.toBeNull();
    expect(others).toMatchObject(
      others.map(() => ({ status: "succeeded", attempt: 1, dispatched_at: null })),
    );
  });

  test("that stops goes on with nothing", async () => {
    const begun = gate();
    const end = gate();
    const [first = "", second = ""] = await acceptInLine(2);
    const done: string[] = [];
    const runner = await bench.start([
      sync(async ({ operation }) => {
        done.push(operation.id);
        begun.open();
        await end.opened;
      }),
    ]);
    await begun.opened;
    const stopped = runner.stop(10_000);
    end.open();
    await stopped;
    expect(await bench.row(first)).toMatchObject({ status: "succeeded" });
    expect(await bench.row(second)).toMatchObject({ status: "pending", attempt: 0 });
    expect(done).toEqual([first]);
    await bench.start([sync(async () => null)]);
    expect(await bench.ended(second)).toMatchObject({ status: "succeeded" });
  });
});

describe("a worker that goes on", () => {
  test("gives back what it was given while its stop began", async () => {
    const ended = gate();
    const told = gate();
    class SlowLedger extends Ledger {
      override async finish(...args: Parameters<Ledger["finish"]>): ReturnType<Ledger["finish"]> {
        const released = await super.finish(...args);
        ended.open();
        await told.opened;
        return released;
      }
    }
    const [first = "", second = ""] = await acceptInLine(2);
    const done: string[] = [];
    const work = sync(async ({ operation }) => void done.push(`${operation.id} ${operation.attempt}`));
    const runner = await bench.start([work], { ledger: new SlowLedger(bench.db) });
    await ended.opened;
    expect(await bench.row(second)).toMatchObject({ status: "running", attempt: 1 });
    const stopped = runner.stop(0);
    told.open();
    await stopped;
    expect(done).toEqual([`${first} 1`]);
    expect((await bench.row(second)).leased_by).toBeNull();
    await bench.start([work]);
    await bench.ended(second);
    expect(done).toEqual([`${first} 1`, `${second} 2`]);
  });

  test("takes from the queue all the same: a long line keeps nobody else's cancellation waiting", async () => {
    const organizationId = newId();
    await bench.database.query("INSERT INTO organizations (id, name, concurrency) VALUES ($1, 'one', 4)", [
      organizationId,
    ]);
    // It never ends: each of it asks for another.
    let goesOn = true;
    const endless = sync(async () => {
      if (goesOn) await bench.accept({ organizationId });
    });
    for (let i = 0; i < 8; i++) await bench.accept({ organizationId });
    await bench.start([endless]);
    await until("all of the worker is taken by it", async () => {
      const running = "SELECT 1 FROM operations WHERE organization_id = $1 AND attempt > 0";
      return (await bench.database.query(running, [organizationId])).length > 20;
    });
    const other = await bench.accept();
    await bench.db.transaction((tx) => requestCancel(tx, other));
    expect(await bench.ended(other.id)).toMatchObject({ status: "cancelled" });
    goesOn = false;
    await until("the line has ended", async () => {
      const left = "SELECT 1 FROM operations WHERE finished_at IS NULL";
      return (await bench.database.query(left)).length === 0;
    });
  });
});

describe("an attempt", () => {
  test("whose database is away for a moment is tried again, not failed", async () => {
    const attempts: number[] = [];
    await bench.start([
      sync(async (context) => {
        attempts.push(context.operation.attempt);
        if (attempts.length === 1) {
          await context.write((tx) => tx.run("SELECT pg_terminate_backend(pg_backend_pid())"));
        }
        return "done";
      }),
    ]);
    const { id } = await bench.accept();
    expect(await bench.ended(id)).toMatchObject({ status: "succeeded", error: null });
    expect(attempts).toEqual([1, 2]);
  });

  test("that is interrupted is tried again a few times, then fails with the reason", async () => {
    let attempts = 0;
    const away = problem("unreachable", "Store not reachable", 502, "it went away");
    const interrupted = (times: number): OperationHandler =>
      sync(async ({ operation }) => {
        attempts = operation.attempt;
        if (operation.attempt <= times) throw new Interruption(away, 3, new Error("cut off"));
        return "done";
      });
    await bench.start([interrupted(2)]);
    const { id } = await bench.accept();
    expect(await bench.ended(id)).toMatchObject({ status: "succeeded", error: null, attempt: 3 });
    await bench.stopAll();
    await bench.start([interrupted(10)]);
    const failing = await bench.accept();
    expect(await bench.ended(failing.id)).toMatchObject({ status: "failed", error: away });
    expect(attempts).toBe(3);
  });

  test("that may have committed is not ended by the time limit", async () => {
    const committing = async (signal: AbortSignal): Promise<boolean> => {
      await until("the time is up", () => performance.now() - began > 1_500);
      return signal.aborted;
    };
    const began = performance.now();
    await bench.start([
      sync((context) => context.step("commit", () => committing(context.signal), { final: true })),
    ]);
    const { id } = await acceptWithTimeout(1);
    expect(await bench.ended(id)).toMatchObject({ status: "succeeded", result: false });
  });

  test("that was taken over is told, and writes nothing more", async () => {
    const began = gate();
    const sleeper = await bench.start([
      sync(async (context) => {
        began.open();
        context.progress({ percent: 1, message: "before" });
        await untilAborted(context.signal).catch(() => {});
        context.progress({ percent: 99, message: "late" });
        await context.write((tx) => tx.run("DELETE FROM operations")).catch(() => {});
        return "late";
      }),
    ]);
    const { id } = await bench.accept();
    await began.opened;
    // A successor that is no runner: so nothing else writes.
    await until("it is taken over", async () => {
      await bench.expireLease(id);
      return bench.ledger.claim(id, "successor", 60_000);
    });
    const before = await bench.row(id);
    await until("the sleeper has noticed", () =>
      bench.log.some(
        (entry) => entry.operationId === id && entry.msg.includes("another attempt has taken over"),
      ),
    );
    await sleeper.stop(0);
    expect(await bench.row(id)).toEqual(before);
  });

  test("at a worker that stops in order ends within its grace", async () => {
    const began = gate();
    const end = gate();
    const runner = await bench.start([
      sync(async () => {
        began.open();
        await end.opened;
        return "in time";
      }),
    ]);
    const { id } = await bench.accept();
    await began.opened;
    const stopped = runner.stop(10_000);
    end.open();
    await stopped;
    expect(await bench.row(id)).toMatchObject({ status: "succeeded", result: "in time" });
  });

  test("at a worker that stops is handed over when the grace is up, and goes on elsewhere", async () => {
    const began = gate();
    const stopping = await bench.start([
      sync(async ({ signal }) => {
        began.open();
        await untilAborted(signal);
      }),
    ]);
    const { id } = await bench.accept();
    await began.opened;
    await stopping.stop(0);
    expect(await bench.row(id)).toMatchObject({ status: "running", attempt: 1, leased_by: null });
    await bench.start([sync(async () => "elsewhere")]);
    expect(await bench.ended(id)).toMatchObject({ status: "succeeded", result: "elsewhere", attempt: 2 });
  });

  test("keeps its lease as long as it runs", async () => {
    const end = gate();
    await bench.start([sync(() => end.opened)], { timing: { leaseMs: 300, heartbeatMs: 50 } });
    const { id } = await bench.accept();
    await until("it runs", async () => (await bench.row(id)).status === "running");
    const { lease_expires_at: first } = await bench.row(id);
    await until("several leases have passed", async () => {
      const { lease_expires_at: now } = await bench.row(id);
      return (now?.getTime() ?? 0) - (first?.getTime() ?? 0) > 1_000;
    });
    expect(await bench.ledger.claim(id, "thief", LEASE_MS)).toBeNull();
    end.open();
    expect(await bench.ended(id)).toMatchObject({ status: "succeeded", attempt: 1 });
  });
});

function acceptWithTimeout(seconds: number) {
  return bench.db.transaction(async (tx) => {
    const operation = await bench.ledger.request(tx, wish());
    await tx.run("UPDATE operations SET timeout_seconds = $2 WHERE id = $1", [operation.id, seconds]);
    return operation;
  });
}
