import { CATALOG, URGENT } from "../../src/operations/catalog.js";
import { isDone, type OperationStatus, type Outcome } from "../../src/operations/operation.js";

/** Something that is done to a ledger; what a kind of step has no use for, it does not look at. */
export interface Step {
  readonly do:
    | ("request" | "claim" | "expire" | "cancel" | "hand over" | "limit")
    | ("renew" | "progress" | "steps" | "fenced" | "finish");
  /** The operation; a request's gets this id. */
  readonly id: string;
  readonly organizationId: string;
  /** Whose write it is. */
  readonly attempt: number;
  /** What a request locks. */
  readonly resources: readonly string[];
  /** What a request is for; for a `check` somebody waits. */
  readonly type: "sync" | "deployment.create" | "check";
  /** Where a request is to be done. */
  readonly region: string | null;
  /** Those that who claims, or is there for a slot, serves. */
  readonly regions: readonly string[];
  /** Whether it is handed over for later. */
  readonly paused: boolean;
  readonly ending: Outcome["status"];
  /** Whether somebody is there for the slot of what ends. */
  readonly hasTaker: boolean;
  /** What the organization may have at work from now on. */
  readonly limit: number;
}

/** An operation in the hands of an attempt. */
interface Hand {
  readonly id: string;
  readonly status: OperationStatus;
  readonly attempt: number;
}

interface Ended {
  readonly wasFull: boolean;
  readonly next: Hand | null;
}

/** What a step is told; null where there is nothing to tell, or no such operation. */
export type Answer =
  | ("accepted" | "conflict" | "landed" | "lost" | Hand | Ended | null)
  | { readonly cancelRequested: boolean }
  | { readonly status: OperationStatus };

/** All that can be seen of an operation. */
export interface ModelOperation {
  readonly id: string;
  readonly organizationId: string;
  readonly type: Step["type"];
  readonly region: string | null;
  status: OperationStatus;
  attempt: number;
  /**
   * `none`: nobody has it, `held`: an attempt, `over`: an attempt whose time is up, `paused`: nobody, and nobody yet,
   * `rested`: nobody, and its pause is over.
   */
  lease: "none" | "held" | "over" | "paused" | "rested";
  /** Those of its organization that it has: one, or none. */
  slots: readonly number[];
  locks: readonly string[];
}

/** How many slots an organization may have, and how many it has been given: none before it lacks them. */
export interface Share {
  readonly limit: number;
  readonly made: number;
}

/**
 * What else happens at the time of a step. Statements see the ledger as it was when they began, and go around rows that
 * are held: so there are a few things that no order explains. Nothing of that is ever for good.
 */
export interface Meanwhile {
  /** What the step was told: it decides where either is right. */
  readonly told: Answer;
  /** Operations whose rows others may hold for a moment: no slot is passed on to them. */
  readonly held: ReadonlySet<string>;
  /** Operations that others begin later in this order: their claims may hold slots for which they have no answer yet. */
  readonly beginning: ReadonlySet<string>;
}

/** The state machine of operations, their locks and slots (DESIGN.md section 4), as simple as it can be said. */
export class LedgerModel {
  /** In the order of their ids. */
  readonly operations: ModelOperation[];
  readonly #shares: Map<string, Share>;
  /** What ends and hand-overs of these steps have freed: others may still see it taken. */
  readonly #freed: Set<string>;
  /** What ends of these steps have begun: others may still see it wait. */
  readonly #heirs: Set<string>;

  constructor(
    operations: readonly ModelOperation[],
    shares: ReadonlyMap<string, Share>,
    freed: ReadonlySet<string> = new Set(),
    heirs: ReadonlySet<string> = new Set(),
  ) {
    this.operations = operations.map((one) => ({ ...one }));
    this.#shares = new Map(shares);
    this.#freed = new Set(freed);
    this.#heirs = new Set(heirs);
  }

  copy(): LedgerModel {
    return new LedgerModel(this.operations, this.#shares, this.#freed, this.#heirs);
  }

  take(step: Step, meanwhile: Meanwhile): Answer {
    if (step.do === "request") return this.#request(step);
    if (step.do === "limit") {
      this.#shares.set(step.organizationId, { ...this.#shareOf(step), limit: step.limit });
      return null;
    }
    const one = this.operations.find(({ id }) => id === step.id);
    const mayWrite =
      one !== undefined &&
      !isDone(one.status) &&
      one.attempt === step.attempt &&
      (one.lease === "held" || one.lease === "over");
    switch (step.do) {
      case "claim":
        return one === undefined ? null : this.#claim(one, step, meanwhile);
      case "expire":
        // Time passes: whatever lease or pause there is, is over.
        if (one?.lease === "held") one.lease = "over";
        if (one?.lease === "paused") one.lease = "rested";
        return null;
      case "cancel":
        if (one === undefined) return null;
        if (!isDone(one.status)) one.status = "cancelling";
        return { status: one.status };
      case "hand over":
        // Says nothing where it is too late: nobody could do anything about it.
        if (!mayWrite) return null;
        one.lease = step.paused ? "paused" : "none";
        if (!step.paused) this.#free(one);
        return null;
    }
    if (!mayWrite) return "lost";
    if (step.do === "finish") return this.#finish(one, step, meanwhile);
    if (step.do !== "renew") return "landed";
    one.lease = "held";
    return { cancelRequested: one.status === "cancelling" };
  }

  #request({ id, organizationId, resources, type, region }: Step): "accepted" | "conflict" {
    if (this.operations.some(({ locks }) => locks.some((lock) => resources.includes(lock))))
      return "conflict";
    const locks = [...resources].sort();
    const fresh = { status: "pending", attempt: 0, lease: "none", slots: [], locks } as const;
    this.operations.push({ id, organizationId, type, region, ...fresh });
    this.operations.sort((a, b) => (a.id < b.id ? -1 : 1));
    return "accepted";
  }

  #claim(one: ModelOperation, { regions }: Step, meanwhile: Meanwhile): Hand | null {
    if (isDone(one.status) || one.lease === "held" || one.lease === "paused") return null;
    // There is nothing to undo of what is cancelled before it began: anybody ends it.
    const isAnywhere = one.region === null || (one.status === "cancelling" && one.attempt === 0);
    if (!isAnywhere && !regions.includes(one.region)) return null;
    if (needsSlot(one) && one.slots.length === 0) {
      const slot = this.#slotFor(one, meanwhile);
      if (slot === null) return null;
      one.slots = [slot];
    }
    return begin(one);
  }

  /**
   * The first free slot; null: there is none. Or none can be had at this moment: what is freed now is seen as taken, what
   * another claim takes is gone around though that is not answered yet. A sweep finds the operation, and it is claimed then.
   */
  #slotFor(one: ModelOperation, { told, beginning }: Meanwhile): number | null {
    const free = (): number[] => this.#freeOf(one).filter((slot) => slot <= this.#shareOf(one).limit);
    const share = this.#shareOf(one);
    if (free().length === 0)
      this.#shares.set(one.organizationId, { ...share, made: Math.max(share.made, share.limit) });
    const seen = free().filter((slot) => !this.#freed.has(keyOf(one, slot)));
    if (told === null && seen.length <= this.#takersBeside(one, beginning)) return null;
    return seen[0] ?? free()[0] ?? null;
  }

  /** How many others of its organization are about to get a slot. */
  #takersBeside(one: ModelOperation, beginning: ReadonlySet<string>): number {
    const takes = (other: ModelOperation) => needsSlot(other) && other.slots.length === 0;
    return this.operations.filter(
      (other) => other.organizationId === one.organizationId && beginning.has(other.id) && takes(other),
    ).length;
  }

  #finish(one: ModelOperation, step: Step, meanwhile: Meanwhile): Ended {
    const [slot] = one.slots;
    const heir = slot === undefined ? undefined : this.#heirOf(one, slot, step, meanwhile);
    const wasFull = slot !== undefined && heir === undefined && this.#isFull(one, meanwhile);
    Object.assign(one, { status: step.ending, lease: "none", locks: [] });
    if (slot === undefined || heir === undefined) {
      this.#free(one);
      return { wasFull, next: null };
    }
    one.slots = [];
    heir.slots = [slot];
    this.#heirs.add(heir.id);
    return { wasFull, next: begin(heir) };
  }

  /**
   * Who gets its slot (ADR 17): the first that waits, by priority and age, where one line waits, and it is its own. None
   * also where another line waited until an end of this moment began the last of it: then the dispatcher decides.
   */
  #heirOf(
    one: ModelOperation,
    slot: number,
    { hasTaker, regions }: Step,
    { told, held }: Meanwhile,
  ): ModelOperation | undefined {
    if (!hasTaker || slot > this.#shareOf(one).limit) return undefined;
    if (one.region !== null && !regions.includes(one.region)) return undefined;
    const isNone = (told as Ended | null)?.next === null;
    const seen = this.operations.filter((each) => isWaiting(each) || (isNone && this.#heirs.has(each.id)));
    if (seen.some((each) => lineOf(each) !== lineOf(one))) return undefined;
    const line = seen.filter(({ id, status }) => status === "pending" && !held.has(id));
    return line.sort((a, b) => CATALOG[a.type].priority - CATALOG[b.type].priority)[0];
  }

  /**
   * Whether its organization has no other slot that is free, be it one too many by now. What is freed at this moment may
   * be seen as taken: a look too many. Slots that a claim is just making may be there before they are taken.
   */
  #isFull(one: ModelOperation, { told, beginning }: Meanwhile): boolean {
    const free = this.#freeOf(one);
    const { made, limit } = this.#shareOf(one);
    const mayBe = free.every((slot) => this.#freed.has(keyOf(one, slot)));
    const mayNotBe = made < limit && this.#takersBeside(one, beginning) > 0;
    return (told as Ended).wasFull ? mayBe : free.length === 0 && !mayNotBe;
  }

  #shareOf({ organizationId }: { readonly organizationId: string }): Share {
    const share = this.#shares.get(organizationId);
    if (share === undefined) throw new Error(`there is no organization ${organizationId}`);
    return share;
  }

  #freeOf({ organizationId }: ModelOperation): number[] {
    const its = this.operations.filter((each) => each.organizationId === organizationId);
    const taken = new Set(its.flatMap(({ slots }) => slots));
    const { made } = this.#shareOf({ organizationId });
    return Array.from({ length: made }, (_, i) => i + 1).filter((slot) => !taken.has(slot));
  }

  #free(one: ModelOperation): void {
    for (const slot of one.slots) this.#freed.add(keyOf(one, slot));
    one.slots = [];
  }
}

const keyOf = ({ organizationId }: ModelOperation, slot: number): string => `${organizationId} ${slot}`;
const lineOf = ({ organizationId, region }: ModelOperation): string => `${organizationId} ${region}`;

/** In a line, and nobody is expected to come back to it. */
function isWaiting({ status, lease }: ModelOperation): boolean {
  return lease === "none" && (status === "pending" || status === "running");
}

/** What somebody waits for in a request, and what only has to end, needs none. */
export function needsSlot({ type, status }: ModelOperation): boolean {
  return CATALOG[type].priority >= URGENT && status !== "cancelling";
}

/** The next attempt. */
function begin(one: ModelOperation): Hand {
  one.attempt += 1;
  one.lease = "held";
  if (one.status === "pending") one.status = "running";
  return { id: one.id, status: one.status, attempt: one.attempt };
}
