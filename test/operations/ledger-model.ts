import { isDone, type OperationStatus, type Outcome } from "../../src/operations/operation.js";

/** Something that is done to a ledger; what a kind of step has no use for, it does not look at. */
export interface Step {
  readonly do:
    | ("request" | "claim" | "expire" | "cancel" | "hand over")
    | ("renew" | "progress" | "steps" | "fenced" | "finish");
  /** The operation; a request's gets this id. */
  readonly id: string;
  /** Whose write it is. */
  readonly attempt: number;
  /** What a request locks. */
  readonly resources: readonly string[];
  /** Whether it is handed over for later. */
  readonly paused: boolean;
  readonly ending: Outcome["status"];
  /** Whether somebody is there for the slot of what ends. */
  readonly hasTaker: boolean;
}

/** An operation in the hands of an attempt. */
interface Hand {
  readonly id: string;
  readonly status: OperationStatus;
  readonly attempt: number;
}

/** What a step is told; null where there is nothing to tell, or no such operation. */
export type Answer =
  | ("accepted" | "conflict" | "landed" | "lost" | Hand | null)
  | { readonly cancelRequested: boolean }
  | { readonly status: OperationStatus }
  | { readonly next: Hand | null };

/** All that can be seen of an operation. */
export interface ModelOperation {
  readonly id: string;
  status: OperationStatus;
  attempt: number;
  /** `none`: nobody has it, `held`: an attempt, `over`: an attempt whose time is up, `paused`: nobody, and nobody yet. */
  lease: "none" | "held" | "over" | "paused";
  /** How many of its organization's it has, of which there are enough. */
  slots: number;
  locks: readonly string[];
}

/** The state machine of operations and their locks (DESIGN.md section 4), as simple as it can be said. */
export class LedgerModel {
  /** In the order of their ids, in which those that wait begin. */
  readonly operations: ModelOperation[];

  constructor(operations: readonly ModelOperation[] = []) {
    this.operations = operations.map((one) => ({ ...one }));
  }

  copy(): LedgerModel {
    return new LedgerModel(this.operations);
  }

  /** @param passedOver ids of those to which no slot is passed on: somebody holds their rows for a moment */
  take(step: Step, passedOver: ReadonlySet<string>): Answer {
    if (step.do === "request") return this.#request(step);
    const one = this.operations.find(({ id }) => id === step.id);
    const mayWrite =
      one !== undefined &&
      !isDone(one.status) &&
      one.attempt === step.attempt &&
      (one.lease === "held" || one.lease === "over");
    switch (step.do) {
      case "claim":
        return one === undefined || isDone(one.status) || one.lease === "held" || one.lease === "paused"
          ? null
          : begin(one);
      case "expire":
        // Time passes: whatever lease or pause there is, is over.
        if (one?.lease === "held") one.lease = "over";
        if (one?.lease === "paused") one.lease = "none";
        return null;
      case "cancel":
        if (one === undefined) return null;
        if (!isDone(one.status)) one.status = "cancelling";
        return { status: one.status };
      case "hand over":
        // Says nothing where it is too late: nobody could do anything about it.
        if (!mayWrite) return null;
        one.lease = step.paused ? "paused" : "none";
        if (!step.paused) one.slots = 0;
        return null;
    }
    if (!mayWrite) return "lost";
    if (step.do === "finish") return { next: this.#finish(one, step, passedOver) };
    if (step.do !== "renew") return "landed";
    one.lease = "held";
    return { cancelRequested: one.status === "cancelling" };
  }

  #request({ id, resources }: Step): "accepted" | "conflict" {
    if (this.operations.some(({ locks }) => locks.some((lock) => resources.includes(lock))))
      return "conflict";
    const locks = [...resources].sort();
    this.operations.push({ id, status: "pending", attempt: 0, lease: "none", slots: 0, locks });
    this.operations.sort((a, b) => (a.id < b.id ? -1 : 1));
    return "accepted";
  }

  /** @returns which one the taker of its slot got; there is none without a taker */
  #finish(one: ModelOperation, step: Step, passedOver: ReadonlySet<string>): Hand | null {
    const passesOn = step.hasTaker && one.slots > 0;
    Object.assign(one, { status: step.ending, lease: "none", slots: 0, locks: [] });
    const next = this.operations.find(({ id, status }) => status === "pending" && !passedOver.has(id));
    return passesOn && next !== undefined ? begin(next) : null;
  }
}

/** The next attempt. */
function begin(one: ModelOperation): Hand {
  one.attempt += 1;
  one.lease = "held";
  // What only has to end needs none.
  if (one.status !== "cancelling") one.slots = 1;
  if (one.status === "pending") one.status = "running";
  return { id: one.id, status: one.status, attempt: one.attempt };
}
