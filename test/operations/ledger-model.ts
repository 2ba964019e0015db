/** What the ledger promises of one operation, without a database. */
export interface ModelOperation {
  readonly id: string;
  readonly resources: readonly string[];
  status: "pending" | "running" | "cancelling" | "succeeded" | "failed" | "cancelled";
  attempt: number;
  /** `none`: nobody has it, `held`: an attempt, `over`: an attempt whose time is up, `paused`: nobody, and nobody yet. */
  lease: "none" | "held" | "over" | "paused";
  /** One of its organization's, of which there are enough. */
  hasSlot: boolean;
}

export type Ending = "succeeded" | "failed" | "cancelled";

/** The state machine of operations and their locks (DESIGN.md section 4), as simple as it can be said. */
export class LedgerModel {
  readonly operations: ModelOperation[] = [];

  /** The operation that keeps another one on these resources from being accepted. */
  blocking(resources: readonly string[]): ModelOperation | undefined {
    return this.operations.find(
      (one) => !isDone(one) && one.resources.some((resource) => resources.includes(resource)),
    );
  }

  accept(id: string, resources: readonly string[]): void {
    this.operations.push({ id, resources, status: "pending", attempt: 0, lease: "none", hasSlot: false });
  }

  /** Whether a claim gets it. */
  claim(one: ModelOperation): boolean {
    if (isDone(one) || one.lease === "held" || one.lease === "paused") return false;
    one.attempt += 1;
    one.lease = "held";
    // What only has to end needs none.
    if (one.status !== "cancelling") one.hasSlot = true;
    if (one.status === "pending") one.status = "running";
    return true;
  }

  /** Whether an attempt may write. */
  mayWrite(one: ModelOperation, attempt: number): boolean {
    return !isDone(one) && attempt === one.attempt && (one.lease === "held" || one.lease === "over");
  }

  renew(one: ModelOperation): void {
    one.lease = "held";
  }

  handOver(one: ModelOperation, paused: boolean): void {
    one.lease = paused ? "paused" : "none";
    if (!paused) one.hasSlot = false;
  }

  /** Time passes: whatever lease or pause there is, is over. */
  expire(one: ModelOperation): void {
    if (one.lease === "held") one.lease = "over";
    if (one.lease === "paused") one.lease = "none";
  }

  cancel(one: ModelOperation): void {
    if (!isDone(one)) one.status = "cancelling";
  }

  /** @returns which one the taker of its slot got; there is none without a taker */
  finish(one: ModelOperation, ending: Ending, hasTaker: boolean): ModelOperation | undefined {
    const passesOn = hasTaker && one.hasSlot;
    Object.assign(one, { status: ending, lease: "none", hasSlot: false });
    const next = passesOn ? this.operations.find(({ status }) => status === "pending") : undefined;
    if (next !== undefined) this.claim(next);
    return next;
  }
}

export function isDone({ status }: ModelOperation): boolean {
  return status === "succeeded" || status === "failed" || status === "cancelled";
}
