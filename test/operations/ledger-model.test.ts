import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Ledger } from "../../src/operations/ledger.js";
import { isDone } from "../../src/operations/operation.js";
import { newId } from "../../src/platform/ids.js";
import { Database } from "../../src/platform/sql.js";
import { assertHistories, ONCE } from "./histories.js";
import {
  type Answer,
  LedgerModel,
  type ModelOperation,
  needsSlot,
  type Share,
  type Step,
} from "./ledger-model.js";
import { type LedgerProcess, rowsOf, slotsMade, takeStep } from "./ledger-steps.js";
import { type LedgerBench, openLedger, silent } from "./support.js";

/** Slots of an organization: so few that most of what is asked for has to wait. */
const LIMIT = 2;
const RESOURCES = 4;

let bench: LedgerBench;
let processes: readonly LedgerProcess[];
beforeAll(async () => {
  bench = await openLedger({ concurrency: LIMIT });
  // What is written in one statement for several is so within a process.
  const db = new Database(bench.database.url, 20, silent);
  processes = [bench, { db, ledger: new Ledger(db, { concurrency: LIMIT }) }];
});
afterAll(async () => {
  await processes[1]?.db.close();
  await bench.close();
});

/** A step before it is known what there is: `which` picks an operation. */
const choiceOf = (...what: readonly Step["do"][]) =>
  fc.record({
    do: fc.constantFrom(...what),
    process: fc.nat(1),
    which: fc.constantFrom(0, 0, 0, 0, 1, 2),
    /** Of which attempt a write is: mostly the latest, else one before or the next. */
    lag: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1, 2, -1),
    organization: fc.constantFrom(0, 0, 1),
    on: fc.oneof(
      fc.constant<number[]>([]),
      fc.constant<number[]>([]),
      fc.uniqueArray(fc.nat(RESOURCES - 1), { maxLength: 2 }),
    ),
    type: fc.constantFrom<Step["type"][]>("sync", "sync", "sync", "deployment.create", "check"),
    region: fc.constantFrom(...Array.from({ length: 9 }, () => null), "here"),
    regions: fc.constantFrom<(readonly string[])[]>(["here"], ["here"], ["elsewhere"]),
    paused: fc.boolean(),
    ending: fc.constantFrom<Step["ending"][]>("succeeded", "failed", "cancelled"),
    hasTaker: fc.constantFrom(true, true, false),
    limit: fc.constantFrom(1, LIMIT, LIMIT + 1, LIMIT + 3),
  });
const OFTEN = ["request", "claim", "finish"] as const;
const RARELY = ["renew", "progress", "steps", "fenced", "cancel"] as const;
const AT_TIMES = ["claim", "expire", "expire", "hand over"] as const;
const choice = choiceOf(
  ...OFTEN,
  ...OFTEN,
  ...OFTEN,
  ...OFTEN,
  ...OFTEN,
  ...AT_TIMES,
  ...AT_TIMES,
  ...RARELY,
);
type Choice = typeof choice extends fc.Arbitrary<infer T> ? T : never;

/** Which operations steps pick from: those that somebody has, those that nobody has, whichever of these it fits, or any. */
type Among = "held" | "left" | "fitting" | "any";

/** Steps that are taken at the same time, most of them on one operation. How many may be at work, nobody changes meanwhile. */
const batchOf = (minLength: number, maxLength: number) =>
  fc.record({
    focus: fc.nat(5),
    among: fc.constantFrom<Among[]>("held", "left", "left", "fitting", "fitting", "any"),
    choices: fc.oneof(
      { weight: 14, arbitrary: fc.array(choice, { minLength, maxLength, size: "max" }) },
      { weight: 1, arbitrary: fc.tuple(choiceOf("limit")) },
    ),
  });
type Batch = { readonly focus: number; readonly among: Among; readonly choices: readonly Choice[] };

/** A step that was taken, what it was told, and the operations that it may have held: its own, and what it began. */
interface Taken {
  readonly step: Step;
  readonly answer: Answer;
  readonly held: readonly string[];
}

interface Call {
  readonly step: Step;
  readonly process: LedgerProcess;
}

/** What has to come up in histories, else they show little. */
const CASES = ["refused without a slot", "passed its slot on", "was full", "was not full"] as const;
type Case = (typeof CASES)[number];

/** A ledger and its model side by side. */
class Pair {
  readonly #resources = Array.from({ length: RESOURCES }, newId);
  readonly #organizations = [newId(), newId()];
  readonly #lines: number;
  #shares: ReadonlyMap<string, Share> = new Map(
    this.#organizations.map((id) => [id, { limit: LIMIT, made: 0 }]),
  );
  #operations: readonly ModelOperation[] = [];

  /** @param lines organizations that ask; of several, for more than one region too */
  constructor(lines: number) {
    this.#lines = lines;
  }

  /** @returns what came up */
  take(batch: Batch): Promise<Case[]> {
    return this.#take(this.#callsOf(batch));
  }

  /** When all is quiet whatever is left can be claimed and ended: nothing is lost. */
  async end(): Promise<void> {
    const left = this.#operations.filter(({ status }) => !isDone(status));
    // Those first that have the slots.
    for (const { id, attempt, organizationId } of left.sort((a, b) => b.slots.length - a.slots.length)) {
      const one = { ...ANY, id, organizationId, attempt: attempt + 1 };
      for (const what of ["expire", "claim", "finish"] as const)
        await this.#take([{ step: { ...one, do: what }, process: bench }]);
    }
    expect(this.#operations.filter(({ status, slots }) => !isDone(status) || slots.length > 0)).toEqual([]);
  }

  async #take(calls: readonly Call[]): Promise<Case[]> {
    const answers = await Promise.all(calls.map(({ step, process }) => takeStep(step, process, bench)));
    const taken = calls.map(({ step }, i): Taken => {
      const answer = answers[i] ?? null;
      const next = endOf(answer)?.next ?? null;
      return { step, answer, held: next === null ? [step.id] : [step.id, next.id] };
    });
    const [rows, made] = await Promise.all([rowsOf(bench), slotsMade(bench)]);
    const model = new LedgerModel(this.#operations, this.#shares);
    if (!areInSomeOrder(model, taken, { taken, rows }))
      throw new Error(`there is no order of these steps:\n${told(this.#operations, taken, rows)}`);
    // As they are, with the numbers of slots.
    this.#operations = rows;
    this.#shares = new Map(
      [...this.#shares].map(([id, { limit }]) => {
        const changed = calls.find(({ step }) => step.do === "limit" && step.organizationId === id);
        return [id, { limit: changed?.step.limit ?? limit, made: made.get(id) ?? 0 }];
      }),
    );
    return taken.flatMap((one) => caseOf(one, rows));
  }

  #callsOf({ focus, among, choices }: Batch): Call[] {
    const requested = choices.map((one) => (one.do === "request" ? newId() : ""));
    return choices.flatMap(({ which, lag, on, organization, ...one }, i) => {
      const ids = this.#idsFor(one.do, among, requested);
      const id = requested[i] || (ids[(focus + which) % Math.max(1, ids.length)] ?? "");
      const process = processes[one.process];
      if (process === undefined || (id === "" && one.do !== "limit")) return [];
      const known = this.#operations.find((operation) => operation.id === id);
      // Of what is only just asked for, whoever asks.
      const asker = choices[requested.indexOf(id)]?.organization ?? organization;
      const organizationId = known?.organizationId ?? this.#organizations[asker % this.#lines] ?? "";
      const resources = on.map((index) => this.#resources[index] ?? "");
      const region = this.#lines > 1 ? one.region : null;
      const attempt = (known?.attempt ?? 0) - lag;
      return [{ step: { ...one, id, organizationId, attempt, resources, region }, process }];
    });
  }

  #idsFor(what: Step["do"], among: Among, requested: readonly string[]): string[] {
    const active = this.#operations.filter(({ status }) => !isDone(status));
    const areHeld = among === "held" || (among === "fitting" && what !== "claim");
    const picked = active.filter(({ lease }) => among !== "any" && (lease === "held") === areHeld);
    if (picked.length > 0) return picked.map(({ id }) => id);
    const ended = this.#operations.filter(({ status }) => isDone(status)).reverse();
    const ids = [...active, ...ended].map(({ id }) => id).slice(0, 6);
    // Of what is asked for at the same time too.
    ids.splice(2, 0, ...requested.filter((id) => id !== ""));
    return ids;
  }
}

const ANY = {
  ...({ resources: [], type: "sync", region: null, regions: ["here"], paused: false } as const),
  ...({ ending: "succeeded", hasTaker: false, limit: LIMIT } as const),
};

const endOf = (answer: Answer) =>
  typeof answer === "object" && answer !== null && "next" in answer ? answer : null;

/** What came up with a step. */
function caseOf({ step, answer }: Taken, rows: readonly ModelOperation[]): Case[] {
  const end = endOf(answer);
  if (end !== null)
    return end.next !== null ? ["passed its slot on"] : [end.wasFull ? "was full" : "was not full"];
  const one = rows.find(({ id }) => id === step.id);
  const waits = one?.lease === "none" && one.region === null && !isDone(one.status) && needsSlot(one);
  return step.do === "claim" && answer === null && waits ? ["refused without a slot"] : [];
}

/**
 * Whether the steps that are left can follow, one after the other, in an order in which each is told what it was told and
 * the rows become what they are.
 */
function areInSomeOrder(
  model: LedgerModel,
  left: readonly Taken[],
  all: { readonly taken: readonly Taken[]; readonly rows: readonly ModelOperation[] },
): boolean {
  if (left.length === 0) {
    const seen = (rows: readonly ModelOperation[]) => (all.taken.length > 1 ? withoutNumbers(rows) : rows);
    return isDeepStrictEqual(seen(model.operations), seen(all.rows));
  }
  return left.some((first) => {
    const next = model.copy();
    const rest = left.filter((one) => one !== first);
    const others = all.taken.filter((one) => one !== first);
    const meanwhile = {
      told: first.answer,
      held: new Set(others.flatMap(({ held }) => held).filter((id) => !first.held.includes(id))),
      beginning: new Set(
        rest.flatMap(({ step, answer }) => (step.do === "claim" && answer !== null ? [step.id] : [])),
      ),
    };
    return (
      isDeepStrictEqual(next.take(first.step, meanwhile), first.answer) && areInSomeOrder(next, rest, all)
    );
  });
}

/** Which of several free slots each has, no order says. */
function withoutNumbers(operations: readonly ModelOperation[]) {
  return operations.map(({ slots, ...one }) => ({ ...one, slots: slots.length }));
}

function told(
  before: readonly ModelOperation[],
  taken: readonly Taken[],
  after: readonly ModelOperation[],
): string {
  const steps = taken.map(({ step, answer }) => `${JSON.stringify(step)}\n  -> ${JSON.stringify(answer)}`);
  const rows = (all: readonly ModelOperation[]) => all.map((one) => JSON.stringify(one)).join("\n");
  return `${steps.join("\n")}\nbefore:\n${rows(before)}\nafter:\n${rows(after)}`;
}

interface Bounds extends fc.Parameters<[number, Batch[]]> {
  readonly numRuns: number;
  /** So many batches make a history, at most. */
  readonly length: number;
}

async function compare(batch: fc.Arbitrary<Batch>, { length, ...bounds }: Bounds): Promise<void> {
  const cases = new Set<Case>();
  // Slots are passed on where there is one line.
  const lines = fc.constantFrom(1, 1, 2);
  const batches = fc.array(batch, { minLength: 1, maxLength: length, size: "max" });
  await assertHistories(
    fc.asyncProperty(lines, batches, async (count, history) => {
      // Nobody else waits: else no slot is passed on.
      await bench.database.query("TRUNCATE operations, operation_locks, operation_slots");
      const pair = new Pair(count);
      for (const one of history) for (const found of await pair.take(one)) cases.add(found);
      await pair.end();
    }),
    { unbiased: true, ...bounds },
  );
  expect([...cases].sort()).toEqual([...CASES].sort());
}

test("the ledger does what its model does, step by step", ONCE, async () => {
  await compare(batchOf(1, 1), { length: 100, numRuns: 40 });
});

test("of what is done at the same time, it does as the model in some order", ONCE, async () => {
  // What others did at that moment does not come back: less of it shows nothing.
  await compare(batchOf(2, 5), { length: 30, numRuns: 60, endOnFailure: true });
});
