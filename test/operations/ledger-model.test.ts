import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, test } from "vitest";
import { Ledger } from "../../src/operations/ledger.js";
import { isDone } from "../../src/operations/operation.js";
import { newId } from "../../src/platform/ids.js";
import { Database } from "../../src/platform/sql.js";
import { type Answer, LedgerModel, type ModelOperation, type Step } from "./ledger-model.js";
import { type LedgerProcess, rowsOf, takeStep } from "./ledger-steps.js";
import { type LedgerBench, openLedger, silent } from "./support.js";

let bench: LedgerBench;
let processes: readonly LedgerProcess[];
beforeAll(async () => {
  bench = await openLedger();
  // What is written in one statement for several is so within a process.
  const db = new Database(bench.database.url, 20, silent);
  processes = [bench, { db, ledger: new Ledger(db) }];
});
afterAll(async () => {
  await processes[1]?.db.close();
  await bench.close();
});

const RESOURCES = 4;

/** A step before it is known what there is: `which` picks an operation. */
const choice = fc.record({
  do: fc.constantFrom<Step["do"][]>(
    ...(["request", "request", "request", "claim", "claim", "claim", "claim", "claim", "claim"] as const),
    ...(["renew", "progress", "steps", "fenced", "renew", "fenced", "expire", "expire", "expire"] as const),
    ...(["cancel", "cancel", "hand over", "hand over", "finish", "finish", "finish"] as const),
  ),
  process: fc.nat(1),
  which: fc.constantFrom(0, 0, 0, 1, 2),
  /** Of which attempt a write is: mostly the latest, else one before or the next. */
  lag: fc.constantFrom(0, 0, 0, 1, 2, -1),
  on: fc.uniqueArray(fc.nat(RESOURCES - 1), { maxLength: 3 }),
  paused: fc.boolean(),
  ending: fc.constantFrom<Step["ending"][]>("succeeded", "failed", "cancelled"),
  hasTaker: fc.boolean(),
});
type Choice = typeof choice extends fc.Arbitrary<infer T> ? T : never;

/** Steps that are taken at the same time, most of them on one operation. */
const batchOf = (minLength: number, maxLength: number) =>
  fc.record({ focus: fc.nat(5), choices: fc.array(choice, { minLength, maxLength, size: "max" }) });
type Batch = { readonly focus: number; readonly choices: readonly Choice[] };

/** A step that was taken, what it was told, and the operations to whose rows others may have kept it from coming. */
interface Taken {
  readonly step: Step;
  readonly answer: Answer;
  readonly passedOver: ReadonlySet<string>;
}

/** A ledger and its model side by side. */
class Pair {
  readonly #organizationId = newId();
  readonly #resources = Array.from({ length: RESOURCES }, newId);
  #model = new LedgerModel();

  async take(batch: Batch): Promise<void> {
    const steps = this.#stepsOf(batch);
    const context = { bench, organizationId: this.#organizationId };
    const answers = await Promise.all(steps.map(({ step, process }) => takeStep(step, process, context)));
    const taken = steps.map(({ step }, i) => {
      const answer = answers[i] ?? null;
      const others = new Set(steps.flatMap((other) => (other.step === step ? [] : [other.step.id])));
      if (typeof answer === "object" && answer !== null && "next" in answer)
        others.delete(answer.next?.id ?? "");
      return { step, answer, passedOver: others };
    });
    const rows = await rowsOf(bench);
    const after = inSomeOrder(this.#model, taken, rows);
    if (after === null)
      throw new Error(`there is no order of these steps:\n${told(this.#model, taken, rows)}`);
    this.#model = after;
  }

  #stepsOf({ focus, choices }: Batch): { step: Step; process: LedgerProcess }[] {
    const requested = choices.map((one) => (one.do === "request" ? newId() : ""));
    const { operations } = this.#model;
    const active = operations.filter(({ status }) => !isDone(status));
    const ended = operations.filter(({ status }) => isDone(status)).reverse();
    const ids = [...active, ...ended].map(({ id }) => id).slice(0, 6);
    // Of what is asked for at the same time too.
    ids.splice(2, 0, ...requested.filter((id) => id !== ""));
    return choices.flatMap((one, i) => {
      const id = requested[i] || ids[(focus + one.which) % Math.max(1, ids.length)];
      const process = processes[one.process];
      if (id === undefined || process === undefined) return [];
      const attempt = (operations.find((operation) => operation.id === id)?.attempt ?? 0) - one.lag;
      const { do: what, paused, ending, hasTaker } = one;
      const resources = one.on.map((index) => this.#resources[index] ?? "");
      return [{ step: { do: what, id, attempt, resources, paused, ending, hasTaker }, process }];
    });
  }
}

/**
 * The model after these steps, one after the other, in an order in which each is told what it was told and the rows are
 * what they are; null: there is none. The rows are all of the model, so any such order is as good as another.
 */
function inSomeOrder(
  model: LedgerModel,
  taken: readonly Taken[],
  rows: readonly ModelOperation[],
): LedgerModel | null {
  if (taken.length === 0) return isDeepStrictEqual(model.operations, rows) ? model : null;
  for (const first of taken) {
    const next = model.copy();
    if (!isDeepStrictEqual(next.take(first.step, first.passedOver), first.answer)) continue;
    const rest = taken.filter((one) => one !== first);
    const found = inSomeOrder(next, rest, rows);
    if (found !== null) return found;
  }
  return null;
}

function told(before: LedgerModel, taken: readonly Taken[], after: readonly ModelOperation[]): string {
  const steps = taken.map(({ step, answer }) => `${JSON.stringify(step)}\n  -> ${JSON.stringify(answer)}`);
  const rows = (all: readonly ModelOperation[]) => all.map((one) => JSON.stringify(one)).join("\n");
  return `${steps.join("\n")}\nbefore:\n${rows(before.operations)}\nafter:\n${rows(after)}`;
}

/** Histories of so many steps. */
async function compare(
  batch: fc.Arbitrary<Batch>,
  bounds: fc.Parameters<[Batch[]]> & { length: number },
): Promise<void> {
  const batches = fc.array(batch, { minLength: 1, maxLength: bounds.length, size: "max" });
  await fc.assert(
    fc.asyncProperty(batches, async (history) => {
      // Nobody else waits: else no slot is passed on.
      await bench.database.query("TRUNCATE operations, operation_locks, operation_slots");
      const pair = new Pair();
      for (const one of history) await pair.take(one);
    }),
    { interruptAfterTimeLimit: 90_000, ...bounds },
  );
}

test("the ledger does what its model does, step by step", { timeout: 180_000 }, async () => {
  await compare(batchOf(1, 1), { length: 40, numRuns: 40 });
});

test("of what is done at the same time, it does as the model in some order", {
  timeout: 180_000,
}, async () => {
  // What others did at that moment does not come back: less of it shows nothing.
  await compare(batchOf(2, 4), { length: 20, numRuns: 100, endOnFailure: true });
});
