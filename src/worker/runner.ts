import { setTimeout as delay } from "node:timers/promises";
import type { Timing } from "../config.js";
import { announce, onChange } from "../operations/changes.js";
import type { Dispatcher } from "../operations/dispatcher.js";
import { LeaseLostError, type Ledger } from "../operations/ledger.js";
import type { ClaimedOperation, Outcome } from "../operations/operation.js";
import type { Consumption, OperationQueue } from "../operations/queue.js";
import type { Logger } from "../platform/logger.js";
import type { Signals } from "../platform/signals.js";
import { isDatabaseAway } from "../platform/sql.js";
import type { Span, Tracer } from "../platform/tracing.js";
import { Attempt } from "./attempt.js";
import { abandoned, failed, internal, pauseAfter, tooLong, unknownType } from "./endings.js";
import { Interruption, Onward, OperationFailure, type OperationHandler } from "./handler.js";

export interface RunnerDeps {
  readonly ledger: Ledger;
  readonly queue: Pick<OperationQueue, "consume">;
  /** Asked to send more where an end makes room, and what is handed over. */
  readonly dispatcher: Pick<Dispatcher, "dispatch" | "refill">;
  readonly signals: Signals;
  readonly handlers: readonly OperationHandler[];
  readonly timing: Timing;
  readonly concurrency: number;
  /** Whose operations this worker does, besides those of no region. */
  readonly regions: readonly string[];
  readonly workerId: string;
  readonly logger: Logger;
  /** Default: nothing is traced. */
  readonly tracer?: Tracer | null;
}

/** An operation, and the moment before its claim was asked for, by `performance.now()`. */
interface Claimed {
  readonly operation: ClaimedOperation;
  readonly askedAt: number;
}

/** How an attempt ended: with the operation's end, or without. */
type Ending =
  | Outcome
  | { readonly status: "lost" }
  | { readonly status: "given-back"; readonly pauseMs: number; readonly region?: string };

/** Claims operations as the queue delivers them, and sees each to its end or lets another worker do so. */
export class Runner {
  readonly #deps: RunnerDeps;
  readonly #handlers: ReadonlyMap<string, OperationHandler>;
  readonly #attempts = new Set<Attempt>();
  readonly #unsubscribe: () => void;
  #consumption: Consumption | null = null;
  #resting = false;
  #stopping = false;
  /** Operations that others are to do, and whose ids the queue still holds as being worked at here. */
  readonly #handedOver = new Set<string>();

  constructor(deps: RunnerDeps) {
    this.#deps = deps;
    this.#unsubscribe = onChange(deps.signals, (id, change) => {
      if (change === "cancel") this.#lookAt(id);
    });
    this.#handlers = new Map(deps.handlers.map((handler) => [handler.type, handler]));
  }

  /** How many operations it works at now. */
  get running(): number {
    return this.#attempts.size;
  }

  /** How many it works at at once, at most; none before `start`. */
  get limit(): number {
    return this.#consumption?.limit ?? 0;
  }

  async start(): Promise<void> {
    const { queue, concurrency, regions } = this.#deps;
    this.#consumption = await queue.consume((id) => this.#deliver(id), concurrency, regions);
  }

  /** Stops claiming; what runs is given `graceMs` to end, then is handed over to other workers. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const stopped = this.#consumption?.stop() ?? Promise.resolve();
    const timer = setTimeout(() => {
      for (const attempt of this.#attempts) attempt.stop("shutdown");
    }, graceMs);
    await stopped;
    clearTimeout(timer);
    this.#unsubscribe();
    await this.#sendHandedOver();
  }

  /** Now that the queue has let go of them they can be sent; where that fails, a sweep does it some seconds later. */
  async #sendHandedOver(): Promise<void> {
    const { ledger, dispatcher, logger } = this.#deps;
    if (this.#handedOver.size === 0) return;
    try {
      await ledger.resend([...this.#handedOver]);
      await dispatcher.dispatch();
    } catch (error) {
      logger.warn({ err: error }, "what was handed over could not be sent at once");
    }
  }

  /** The signal is a hint: the flag in the database counts. */
  #lookAt(id: string): void {
    for (const attempt of this.#attempts) if (attempt.operation.id === id) void attempt.look();
  }

  async #deliver(id: string): Promise<void> {
    const { ledger, dispatcher, timing, workerId, regions, logger } = this.#deps;
    // The queue had it on its way already: it goes to another worker as soon as the queue has let go of it.
    if (this.#stopping) return void this.#handedOver.add(id);
    const beganAt = performance.now();
    try {
      const operation = await ledger.claim(id, workerId, timing.leaseMs, regions);
      // Done, gone or somebody's: the queue delivers at least once, the claim decides. Another one may begin instead.
      if (operation === null) return dispatcher.refill();
      let claimed: Claimed | null = { operation, askedAt: beganAt };
      while (claimed !== null) {
        // Claimed while the stop began: nothing new is begun.
        if (this.#stopping) return await this.#giveBack(claimed.operation, 0);
        claimed = await this.#attempt(claimed, beganAt + SUCCESSION_MS);
      }
    } catch (error) {
      // The lease runs out, or was never taken, and the sweep sends the id again.
      const away = isDatabaseAway(error);
      logger[away ? "warn" : "error"](
        { err: error, operationId: id },
        "an operation could not be taken to its end here",
      );
      if (away) void this.#rest();
    }
  }

  /**
   * Takes nothing from the queue while the database does not answer here: the others might, and each id that is
   * taken in vain is kept from them until its claim has failed.
   */
  async #rest(): Promise<void> {
    const { ledger, logger } = this.#deps;
    if (this.#resting) return;
    this.#resting = true;
    this.#consumption?.pause();
    while (!this.#stopping && !(await ledger.answers())) await delay(REST_MS);
    if (!this.#stopping) this.#consumption?.resume();
    this.#resting = false;
    logger.debug("the database answers: operations are taken");
  }

  /** The next one to work at: the organization's, where that has more. @param until when nothing more is taken */
  async #attempt({ operation, askedAt }: Claimed, until: number): Promise<Claimed | null> {
    const { ledger, logger, timing, signals } = this.#deps;
    const span = this.#spanOf(operation);
    const attempt = new Attempt(ledger, operation, logger, span);
    this.#attempts.add(attempt);
    const changed = (): void => void announce(signals, operation.id, "changed");
    attempt.begin(timing.leaseMs, timing.heartbeatMs, askedAt, changed);
    const beganAt = performance.now();
    let status: Ending["status"] = "lost";
    let next: Claimed | null = null;
    try {
      const handler = this.#handlers.get(operation.operationType);
      const ending = await this.#run(attempt, handler);
      // A database that says nothing would keep an attempt that is over from being delivered elsewhere.
      if (ending.status !== "lost") await attempt.settled();
      if (ending.status === "given-back") await this.#giveBack(operation, ending.pauseMs, ending.region);
      else if (ending.status !== "lost") next = await this.#finish(operation, handler, ending, until);
      status = ending.status;
    } catch (error) {
      if (!(error instanceof LeaseLostError)) throw error;
    } finally {
      attempt.end();
      this.#attempts.delete(attempt);
      endSpan(span, status);
    }
    if (status === "lost") {
      attempt.logger.info("the lease is lost: another attempt has taken over, or will");
      void this.#rest();
    } else
      attempt.logger.info({ status, ms: Math.round(performance.now() - beganAt) }, "the attempt has ended");
    return next;
  }

  /** Goes on with the trace of the request that asked for the operation. */
  #spanOf({ id, operationType, attempt, traceparent }: ClaimedOperation): Span | null {
    const { tracer, workerId } = this.#deps;
    if (tracer === undefined || tracer === null) return null;
    return tracer.start(`attempt ${operationType}`, "consumer", traceparent, {
      "gatehouse.operation.id": id,
      "gatehouse.operation.type": operationType,
      "gatehouse.operation.attempt": attempt,
      "gatehouse.worker.id": workerId,
    });
  }

  async #finish(
    operation: ClaimedOperation,
    handler: OperationHandler | undefined,
    outcome: Outcome,
    until: number,
  ): Promise<Claimed | null> {
    const { ledger, dispatcher, signals, workerId, regions, timing } = this.#deps;
    const settle = handler?.settle?.bind(handler);
    const askedAt = performance.now();
    const goesOn = !this.#stopping && askedAt < until;
    const { wasFull, next } = await ledger.finish(
      operation.id,
      operation.attempt,
      outcome,
      settle && ((tx) => settle(tx, operation, outcome)),
      goesOn ? { workerId, regions, leaseMs: timing.leaseMs } : null,
    );
    const told = announce(signals, operation.id, "ended");
    if (next !== null) return { operation: next, askedAt };
    if (wasFull) void dispatcher.dispatch();
    else dispatcher.refill();
    await told;
    return null;
  }

  async #giveBack({ id, attempt }: ClaimedOperation, pauseMs: number, region?: string): Promise<void> {
    await this.#deps.ledger.handOver(id, attempt, pauseMs, region);
    if (pauseMs === 0) this.#handedOver.add(id);
  }

  async #run(attempt: Attempt, handler: OperationHandler | undefined): Promise<Ending> {
    const { operation } = attempt;
    if (operation.status === "cancelling") return this.#conclude(attempt, handler, { status: "cancelled" });
    if (handler === undefined) return failed(unknownType(operation));
    if (operation.attempt > operation.maxAttempts)
      return this.#conclude(attempt, handler, failed(abandoned(operation)));
    try {
      const result = await Promise.race([handler.run(attempt), attempt.unheeded()]);
      return { status: "succeeded", result };
    } catch (error) {
      if (error instanceof LeaseLostError || attempt.stopReason === "lease-lost") return { status: "lost" };
      if (attempt.stopReason === "shutdown") return { status: "given-back", pauseMs: 0 };
      if (attempt.stopReason === "cancelled") return cancelled(operation, handler);
      if (attempt.stopReason === "timeout") return failed(tooLong(operation));
      if (error instanceof Onward) return { status: "given-back", pauseMs: ONWARD_MS, region: error.region };
      if (error instanceof Interruption && operation.attempt < error.attempts) {
        attempt.logger.warn({ problem: error.problem }, "the operation was interrupted, and is tried again");
        return { status: "given-back", pauseMs: pauseAfter(operation.attempt) };
      }
      if (error instanceof OperationFailure) {
        attempt.logger.info({ problem: error.problem }, "the operation failed");
        return failed(error.problem);
      }
      if (isDatabaseAway(error)) {
        attempt.logger.warn({ err: error }, "the database was away: the operation is tried again");
        return { status: "given-back", pauseMs: pauseAfter(operation.attempt) };
      }
      attempt.logger.error({ err: error }, "the operation failed by a fault of Gatehouse");
      return failed(internal(operation));
    }
  }

  /** The end of an operation that is not to be tried again: an earlier attempt may have brought it to a good one. */
  async #conclude(attempt: Attempt, handler: OperationHandler | undefined, end: Outcome): Promise<Ending> {
    const { operation } = attempt;
    if (!isToConclude(operation, handler)) return end;
    try {
      const concluded = await Promise.race([handler.conclude(attempt), attempt.unheeded()]);
      return concluded === null ? end : { status: "succeeded", result: concluded.result };
    } catch (error) {
      if (error instanceof LeaseLostError || attempt.stopReason === "lease-lost") return { status: "lost" };
      if (attempt.stopReason === "shutdown") return { status: "given-back", pauseMs: 0 };
      const level = error instanceof OperationFailure || isDatabaseAway(error) ? "warn" : "error";
      attempt.logger[level]({ err: error }, "it is not known yet what came of the operation");
      if (operation.attempt < operation.maxAttempts + CONCLUSIONS)
        return { status: "given-back", pauseMs: pauseAfter(operation.attempt) };
      return error instanceof OperationFailure ? failed(error.problem) : end;
    }
  }
}

/** So long a delivery may go on with what else waits: then it is the queue's turn to say what comes next. */
const SUCCESSION_MS = 1_000;

/** Until then this worker's queue has let go of it. */
const ONWARD_MS = 100;

/** Whether something that earlier attempts did, or wrote aside, may not have come to light yet. */
function isToConclude(
  { attempt }: ClaimedOperation,
  handler: OperationHandler | undefined,
): handler is OperationHandler & Required<Pick<OperationHandler, "conclude">> {
  return attempt > 1 && handler?.conclude !== undefined;
}

/** The end of an attempt that was cancelled in its midst: it may have to be claimed once more, to be concluded. */
function cancelled(operation: ClaimedOperation, handler: OperationHandler): Ending {
  return isToConclude(operation, handler)
    ? { status: "given-back", pauseMs: ONWARD_MS }
    : { status: "cancelled" };
}

/** Between two tries to hear of the database. */
const REST_MS = 1_000;

/** Claims beyond the last attempt at an operation, to find out what came of it. */
const CONCLUSIONS = 10;

function endSpan(span: Span | null, status: Ending["status"]): void {
  span?.set({ "gatehouse.operation.status": status });
  if (status === "failed" || status === "lost") span?.fail(status);
  span?.end();
}
