import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { holdOperation, requestCancel } from "../../src/operations/cancel.js";
import { LeaseLostError } from "../../src/operations/ledger.js";
import type { Outcome } from "../../src/operations/operation.js";
import { AppError } from "../../src/platform/errors.js";
import { newId } from "../../src/platform/ids.js";
import { type Ending, isDone, LedgerModel, type ModelOperation } from "./ledger-model.js";
import { LEASE_MS, type LedgerBench, openLedger, wish } from "./support.js";

let bench: LedgerBench;
beforeAll(async () => {
  bench = await openLedger();
});
afterAll(() => bench.close());

const RESOURCES = 4;
const which = fc.nat(9);
/** Of which attempt a write is: mostly the latest, else one before or one that never was. */
const lag = fc.constantFrom(0, 0, 0, 1, 2, -1);

/** Something that is done to the ledger; `which` picks an operation of those that there are. */
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("request"),
      on: fc.uniqueArray(fc.nat(RESOURCES - 1), { maxLength: 3 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("claim"), which }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constantFrom("renew", "progress", "steps", "fenced"), which, lag }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("expire"), which }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cancel"), which }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("hand over"), which, lag, paused: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("finish"),
      which,
      lag,
      ending: fc.constantFrom<Ending>("succeeded", "failed", "cancelled"),
      hasTaker: fc.boolean(),
    }),
  },
);

type Step = Readonly<Record<string, unknown>> & {
  readonly do: string;
  readonly on?: readonly number[];
  readonly which?: number;
  readonly lag?: number;
  readonly paused?: boolean;
  readonly ending?: Ending;
  readonly hasTaker?: boolean;
};

const TAKER = { workerId: "a worker", leaseMs: LEASE_MS, regions: [] };

/** A ledger and its model side by side, on resources of their own. */
class Pair {
  readonly model = new LedgerModel();
  readonly #organizationId = newId();
  readonly #resources = Array.from({ length: RESOURCES }, newId);

  async take(one: Step): Promise<void> {
    if (one.do === "request") return this.#request(one.on ?? []);
    const { operations } = this.model;
    const operation = operations[(one.which ?? 0) % Math.max(1, operations.length)];
    if (operation === undefined) return;
    await this.#act(one, operation, operation.attempt - (one.lag ?? 0));
    await this.#compare(operation);
  }

  async #request(on: readonly number[]): Promise<void> {
    const resources = on.map((index) => this.#resources[index] ?? "");
    const blocking = this.model.blocking(resources);
    const locks = resources.map((id) => ({ type: "thing", id }));
    const accepted = bench.db.transaction((tx) =>
      bench.ledger.request(tx, wish({ organizationId: this.#organizationId, locks })),
    );
    if (blocking === undefined) this.model.accept((await accepted).id, resources);
    else
      await expect(accepted).rejects.toSatisfy(
        (error) => error instanceof AppError && error.code === "conflict",
      );
  }

  async #act(one: Step, operation: ModelOperation, attempt: number): Promise<void> {
    const { model } = this;
    const { ledger } = bench;
    const { id } = operation;
    switch (one.do) {
      case "claim": {
        const claimed = await ledger.claim(id, "a worker", LEASE_MS);
        expect(claimed !== null).toBe(model.claim(operation));
        if (claimed !== null)
          expect(claimed).toMatchObject({ attempt: operation.attempt, status: operation.status });
        return;
      }
      case "renew":
        if (await this.#lands(operation, attempt, ledger.renew(id, attempt, LEASE_MS)))
          model.renew(operation);
        return;
      case "progress":
        await this.#lands(
          operation,
          attempt,
          ledger.recordProgress(id, attempt, { percent: 1, message: "" }),
        );
        return;
      case "steps":
        await this.#lands(operation, attempt, ledger.recordSteps(id, attempt, []));
        return;
      case "fenced":
        await this.#lands(
          operation,
          attempt,
          ledger.fenced(id, attempt, async () => {}),
        );
        return;
      case "expire":
        await bench.expireLease(id);
        return model.expire(operation);
      case "cancel":
        return this.#cancel(operation);
      case "hand over":
        // Says nothing where it is too late: nobody could do anything about it.
        await ledger.handOver(id, attempt, one.paused === true ? 60_000 : 0);
        if (model.mayWrite(operation, attempt)) model.handOver(operation, one.paused === true);
        return;
      case "finish": {
        const ending = one.ending ?? "succeeded";
        // In both ways: with something else to write, and without.
        const settle = ending === "succeeded" ? undefined : async () => {};
        const hasTaker = one.hasTaker === true;
        const finished = ledger.finish(id, attempt, outcomeOf(ending), settle, hasTaker ? TAKER : null);
        if (!(await this.#lands(operation, attempt, finished))) return;
        const next = model.finish(operation, ending, hasTaker);
        expect((await finished).next?.id).toBe(next?.id);
        if (next !== undefined) await this.#compare(next);
        return;
      }
      default:
        throw new Error(`no such step: ${one.do}`);
    }
  }

  /** Whether a write landed; it has to exactly where the model says so. */
  async #lands(operation: ModelOperation, attempt: number, write: Promise<unknown>): Promise<boolean> {
    const expected = this.model.mayWrite(operation, attempt);
    const landed = await write.then(
      () => true,
      (error: unknown) => {
        if (error instanceof LeaseLostError) return false;
        throw error;
      },
    );
    expect(landed).toBe(expected);
    return landed;
  }

  async #cancel(operation: ModelOperation): Promise<void> {
    await bench.db.transaction(async (tx) => {
      const seenBy = { organizationId: this.#organizationId, projects: null };
      const held = await holdOperation(tx, operation.id, seenBy);
      if (held !== null) await requestCancel(tx, held);
    });
    this.model.cancel(operation);
  }

  async #compare(operation: ModelOperation): Promise<void> {
    const row = await bench.row(operation.id);
    expect(row).toMatchObject({ status: operation.status, attempt: operation.attempt });
    expect((row.leased_by ?? "") === "").toBe(operation.lease === "none" || operation.lease === "paused");
    const locked = (await bench.locks(operation.id)).map(({ id }) => id).sort();
    expect(locked).toEqual(isDone(operation) ? [] : [...operation.resources].sort());
  }
}

test("the ledger does what its model does, step by step", { timeout: 180_000 }, async () => {
  const steps = fc.array(step as fc.Arbitrary<Step>, { minLength: 1, maxLength: 40, size: "max" });
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      // Nobody else waits: else no slot is passed on.
      await bench.database.query("TRUNCATE operations, operation_locks, operation_slots");
      const pair = new Pair();
      for (const one of sequence) await pair.take(one);
    }),
    { numRuns: 60, interruptAfterTimeLimit: 90_000 },
  );
});

function outcomeOf(ending: Ending): Outcome {
  if (ending === "succeeded") return { status: "succeeded", result: 1 };
  if (ending === "cancelled") return { status: "cancelled" };
  return { status: "failed", error: { type: "x", title: "x", status: 500, detail: "x" } };
}
