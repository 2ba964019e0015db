import { LeaseLostError, type Ledger } from "../operations/ledger.js";
import type { ClaimedOperation, OperationStep, Progress } from "../operations/operation.js";
import type { Logger } from "../platform/logger.js";
import type { Sql } from "../platform/sql.js";
import { type HandlerContext, OperationFailure } from "./handler.js";

const PROGRESS_EVERY_MS = 500;
/** How long a handler may take to heed its signal: then the attempt ends without it. */
const HEED_MS = 8_000;

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
  #recording: Promise<void> = Promise.resolve();

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

  /** Rejects some time after the signal was aborted: whoever has not ended by then is not waited for. */
  unheeded(): Promise<never> {
    return new Promise((_resolve, reject) => {
      const giveUp = (): void => reject(new Error("the handler did not heed its signal"));
      const onAbort = (): void => void this.#timers.push(setTimeout(giveUp, HEED_MS));
      if (this.signal.aborted) onAbort();
      else this.signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Keeps the lease, writes the progress, ends by force at the time limit; until `end`. */
  begin(leaseMs: number, heartbeatMs: number): void {
    const { id, attempt } = this.operation;
    let leasedAt = performance.now();
    let asking = false;
    const isOver = (): boolean => performance.now() - leasedAt > leaseMs;
    const renew = async (): Promise<void> => {
      if (asking) {
        // A database that says nothing at all cannot say that the lease is lost.
        if (isOver()) this.stop("lease-lost");
        return;
      }
      asking = true;
      const askedAt = performance.now();
      try {
        const { cancelRequested } = await this.#ledger.renew(id, attempt, leaseMs);
        leasedAt = askedAt;
        if (cancelRequested) this.stop("cancelled");
      } catch (error) {
        // A database that is away for a moment does not end the attempt; a lease that ran out does.
        if (error instanceof LeaseLostError || isOver()) this.stop("lease-lost");
      }
      asking = false;
    };
    this.#timers.push(setInterval(() => void renew(), heartbeatMs));
    this.#timers.push(setInterval(() => void this.flushProgress(), PROGRESS_EVERY_MS));
    this.#timers.push(setTimeout(() => this.stop("timeout"), this.operation.timeoutSeconds * 1_000));
  }

  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }

  progress(progress: Progress): void {
    this.#latest = progress;
  }

  /** Writes the latest progress, as long as the operation has not ended. Never rejects. */
  flushProgress(): Promise<void> {
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
          // Only messages made for clients are shown to them.
          message: error instanceof OperationFailure ? error.message : "an internal error",
        }).catch(() => {});
      }
      throw error;
    }
  }

  #record(step: OperationStep): Promise<void> {
    const index = this.#steps.findIndex((other) => other.name === step.name);
    if (index === -1) this.#steps.push(step);
    else this.#steps[index] = step;
    const { id, attempt } = this.operation;
    // One after the other, each with all steps so far: none can undo a later one.
    this.#recording = this.#recording
      .catch(() => {})
      .then(() => this.#ledger.recordSteps(id, attempt, this.#steps));
    return this.#recording;
  }
}
