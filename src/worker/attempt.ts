import { LeaseLostError, type Ledger } from "../operations/ledger.js";
import type { ClaimedOperation, OperationStep, Progress } from "../operations/operation.js";
import { messageOf } from "../platform/errors.js";
import type { Logger } from "../platform/logger.js";
import type { Sql } from "../platform/sql.js";
import type { HandlerContext } from "./handler.js";

const PROGRESS_EVERY_MS = 500;

/** Why an attempt's signal was aborted. */
export type StopReason = "cancelled" | "timeout" | "lease-lost" | "shutdown";

/** One attempt at one operation: its lease, its steps, its progress. */
export class Attempt implements HandlerContext {
  readonly operation: ClaimedOperation;
  readonly logger: Logger;
  readonly #ledger: Ledger;
  readonly #abort = new AbortController();
  readonly #steps: OperationStep[];
  readonly #timers: NodeJS.Timeout[] = [];
  #latest: Progress | null = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(ledger: Ledger, operation: ClaimedOperation, logger: Logger) {
    this.operation = operation;
    this.logger = logger.child({ operationId: operation.id, attempt: operation.attempt });
    this.#ledger = ledger;
    this.#steps = [...operation.steps];
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get stopReason(): StopReason | null {
    return this.signal.aborted ? (this.signal.reason as StopReason) : null;
  }

  stop(reason: StopReason): void {
    if (!this.signal.aborted) this.#abort.abort(reason);
  }

  /** Keeps the lease, writes the progress, ends by force at the time limit; until `end`. */
  begin(leaseMs: number, heartbeatMs: number): void {
    let renewedAt = Date.now();
    const renew = async (): Promise<void> => {
      try {
        const { cancelRequested } = await this.#ledger.renew(
          this.operation.id,
          this.operation.attempt,
          leaseMs,
        );
        renewedAt = Date.now();
        if (cancelRequested) this.stop("cancelled");
      } catch (error) {
        // A database that is away for a moment does not end the attempt; a lease that ran out does.
        if (error instanceof LeaseLostError || Date.now() - renewedAt > leaseMs) this.stop("lease-lost");
      }
    };
    this.#timers.push(setInterval(() => void renew(), heartbeatMs));
    this.#timers.push(setInterval(() => void this.#flushProgress(), PROGRESS_EVERY_MS));
    this.#timers.push(setTimeout(() => this.stop("timeout"), this.operation.timeoutSeconds * 1_000));
  }

  async end(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#flushProgress();
  }

  progress(progress: Progress): void {
    this.#latest = progress;
  }

  #flushProgress(): Promise<void> {
    const progress = this.#latest;
    this.#latest = null;
    if (progress === null) return this.#writing;
    this.#writing = this.#writing
      .then(() => this.#ledger.recordProgress(this.operation.id, this.operation.attempt, progress))
      .catch((error: unknown) => {
        if (error instanceof LeaseLostError) this.stop("lease-lost");
      });
    return this.#writing;
  }

  write<T>(work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#ledger.fenced(this.operation.id, this.operation.attempt, work);
  }

  async step<T>(
    name: string,
    work: () => Promise<T>,
    options: { readonly repeat?: boolean } = {},
  ): Promise<T> {
    const known = this.#steps.find((step) => step.name === name);
    if (known?.status === "succeeded" && options.repeat !== true) return known.value as T;
    const startedAt = known?.startedAt ?? new Date().toISOString();
    await this.#record({ name, status: "running", startedAt, finishedAt: null, message: null });
    try {
      const value = await work();
      await this.#record({
        name,
        status: "succeeded",
        startedAt,
        finishedAt: new Date().toISOString(),
        message: null,
        value,
      });
      return value;
    } catch (error) {
      const finishedAt = new Date().toISOString();
      if (!this.signal.aborted) {
        await this.#record({
          name,
          status: "failed",
          startedAt,
          finishedAt,
          message: messageOf(error),
        }).catch(() => {});
      }
      throw error;
    }
  }

  #record(step: OperationStep): Promise<void> {
    const index = this.#steps.findIndex((other) => other.name === step.name);
    if (index === -1) this.#steps.push(step);
    else this.#steps[index] = step;
    return this.#ledger.recordSteps(this.operation.id, this.operation.attempt, this.#steps);
  }
}
