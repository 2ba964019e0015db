/** What the ledger promises of one operation, without a database. */
export interface ModelOperation {
  readonly id: string;
  readonly resources: readonly string[];
  status: "pending" | "running" | "cancelling" | "succeeded" | "failed" | "cancelled";
  attempt: number;
  /** `none`: nobody has it, `held`: an attempt, `over`: an attempt whose time is up, `paused`: nobody, and nobody yet. */
  lease: "none" | "held" | "over" | "paused";
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
    this.operations.push({ id, resources, status: "pending", attempt: 0, lease: "none" });
  }

  /** Whether a claim gets it. */
  claim(one: ModelOperation): boolean {
    if (isDone(one) || one.lease === "held" || one.lease === "paused") return false;
    one.attempt += 1;
    one.lease = "held";
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
  }

  /** Time passes: whatever lease or pause there is, is over. */
  expire(one: ModelOperation): void {
    if (one.lease === "held") one.lease = "over";
    if (one.lease === "paused") one.lease = "none";
  }

  cancel(one: ModelOperation): void {
    if (!isDone(one)) one.status = "cancelling";
  }

  finish(one: ModelOperation, ending: Ending): void {
    one.status = ending;
    one.lease = "none";
  }
}

export function isDone({ status }: ModelOperation): boolean {
  return status === "succeeded" || status === "failed" || status === "cancelled";
}
