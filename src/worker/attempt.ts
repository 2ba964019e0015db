import { LeaseLostError, type Ledger } from "../operations/ledger.js";
import type { ClaimedOperation, OperationStep, Progress } from "../operations/operation.js";
import type { Logger } from "../platform/logger.js";
import type { Sql } from "../platform/sql.js";
import type { Span } from "../platform/tracing.js";
import { type HandlerContext, OperationFailure, type StepOptions } from "./handler.js";

const PROGRESS_EVERY_MS = 500;
/** How long a handler may take to heed its signal: then the attempt ends without it. */
const HEED_MS = 5_000;

/** Why an attempt's signal was aborted. */
export type StopReason = "cancelled" | "timeout" | "lease-lost" | "shutdown";

/** One attempt at one operation: its lease, its steps, its progress. */
export class Attempt implements HandlerContext {
  readonly operation: ClaimedOperation;
  readonly logger: Logger;
  readonly #ledger: Ledger;
  readonly #span: Span | null;
  readonly #abort = new AbortController();
  readonly #steps: OperationStep[];
  readonly #timers: NodeJS.Timeout[] = [];
  #latest: Progress | null = null;
  /** Asks for the lease once more, now; until `begin` there is none. */
  #look: () => Promise<void> = async () => {};
  /** What clients can see of it has changed since they were told; they were not told of the claim. */
  #news = true;
  #final = false;
  #writing: Promise<void> = Promise.resolve();
  #recording: Promise<void> = Promise.resolve();
  /** Until then, by this process's clock, nobody else can have taken the operation over. */
  #safeUntil = 0;
  #leaseMs = 0;

  /** @param span of this attempt, where it is traced; ended by who made it */
  constructor(ledger: Ledger, operation: ClaimedOperation, logger: Logger, span: Span | null = null) {
    const { id: operationId, operationType, attempt, requestId } = operation;
    this.operation = operation;
    this.logger = logger.child({
      ...{ operationId, operationType, attempt, requestId },
      ...(span === null ? {} : { traceId: span.traceId, spanId: span.spanId }),
    });
    this.#ledger = ledger;
    this.#span = span;
    this.#steps = [...operation.steps];
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get stopReason(): StopReason | null {
    return this.signal.aborted ? (this.signal.reason as StopReason) : null;
  }

  /** A cancellation that comes after the point of no return comes too late, and so does the time limit. */
  stop(reason: StopReason): void {
    if (this.#final && (reason === "cancelled" || reason === "timeout")) return;
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

  /**
   * Keeps the lease, writes the progress, ends by force at the time limit; until `end`.
   * @param claimedAt the moment before the claim was asked for, by `performance.now()`: the lease is no older
   * @param changed called after something that clients can see was written, at most twice a second
   */
  begin(leaseMs: number, heartbeatMs: number, claimedAt: number, changed: () => void = () => {}): void {
    const { id, attempt } = this.operation;
    this.#safeUntil = claimedAt + leaseMs;
    this.#leaseMs = leaseMs;
    let asking = false;
    let again = false;
    const isOver = (): boolean => performance.now() > this.#safeUntil;
    const renew = async (): Promise<void> => {
      if (asking) {
        // A database that says nothing at all cannot say that the lease is lost.
        if (isOver()) this.stop("lease-lost");
        return;
      }
      asking = true;
      again = false;
      const askedAt = performance.now();
      try {
        const { cancelRequested } = await this.#ledger.renew(id, attempt, leaseMs);
        this.#safeUntil = askedAt + leaseMs;
        // Who was claimed to be cancelled knows it.
        if (cancelRequested && this.operation.status !== "cancelling") this.stop("cancelled");
      } catch (error) {
        // A database that is away for a moment does not end the attempt; a lease that ran out does.
        if (error instanceof LeaseLostError || isOver()) this.stop("lease-lost");
      }
      asking = false;
      if (again) await renew();
    };
    this.#look = () => {
      again = true;
      return asking ? Promise.resolve() : renew();
    };
    this.#timers.push(setInterval(() => void renew(), heartbeatMs));
    this.#timers.push(setInterval(() => void this.#tell(changed), PROGRESS_EVERY_MS));
    this.#timers.push(setTimeout(() => this.stop("timeout"), this.operation.timeoutSeconds * 1_000));
  }

  /** Somebody wants it cancelled, as a signal says: looks at once, not with the next heartbeat. */
  async look(): Promise<void> {
    await this.#look();
  }

  async #tell(changed: () => void): Promise<void> {
    const written = this.flushProgress();
    if (!this.#news) return;
    this.#news = false;
    await written;
    changed();
  }

  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }

  progress(progress: Progress): void {
    this.#latest = progress;
  }

  /** All that the attempt has told of itself is written, or cannot be. Never rejects. */
  async settled(): Promise<void> {
    await this.flushProgress();
    await this.#recording.catch(() => {});
  }

  /** Writes the latest progress, as long as the operation has not ended. Never rejects. */
  flushProgress(): Promise<void> {
    const progress = this.#latest;
    this.#latest = null;
    if (progress === null) return this.#writing;
    this.#news = true;
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

  async step<T>(name: string, work: () => Promise<T>, options: StepOptions = {}): Promise<T> {
    const known = this.#steps.find((step) => step.name === name);
    if (known?.status === "succeeded" && options.repeat !== true) return known.value as T;
    const startedAt = known?.startedAt ?? new Date().toISOString();
    const begun = this.#record({ name, status: "running", startedAt, finishedAt: null, message: null });
    if (options.final === true || options.recordFirst === true || !this.#isSafe()) await begun;
    if (options.final === true) {
      this.signal.throwIfAborted();
      this.#final = true;
    }
    const span = this.#span?.child(`step ${name}`, "internal");
    try {
      const value = await work();
      span?.end();
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
      span?.fail(error instanceof OperationFailure ? error.problem.type : "an internal error");
      span?.end();
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

  /** The lease has a while to go: what begins now needs no look whether the operation is still this attempt's. */
  #isSafe(): boolean {
    return this.stopReason !== "lease-lost" && performance.now() < this.#safeUntil - this.#leaseMs / 4;
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
    // Nobody may wait for this one.
    this.#recording.catch((error: unknown) => {
      if (error instanceof LeaseLostError) this.stop("lease-lost");
    });
    this.#news = true;
    return this.#recording;
  }
}
