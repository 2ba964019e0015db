import type { Timing } from "../config.js";
import { LeaseLostError, type Ledger } from "../operations/ledger.js";
import type { ClaimedOperation, Outcome } from "../operations/operation.js";
import type { OperationQueue } from "../operations/queue.js";
import type { Logger } from "../platform/logger.js";
import type { Signals } from "../platform/signals.js";
import { isDatabaseAway } from "../platform/sql.js";
import { Attempt } from "./attempt.js";
import { OperationFailure, type OperationHandler, problem } from "./handler.js";

export interface RunnerDeps {
  readonly ledger: Ledger;
  readonly queue: OperationQueue;
  readonly signals: Signals;
  readonly handlers: readonly OperationHandler[];
  readonly timing: Timing;
  readonly concurrency: number;
  readonly workerId: string;
  readonly logger: Logger;
}

/** Claims operations as the queue delivers them, and sees each to its end or lets another worker do so. */
export class Runner {
  readonly #deps: RunnerDeps;
  readonly #handlers: ReadonlyMap<string, OperationHandler>;
  readonly #attempts = new Set<Attempt>();
  #stopConsuming: (() => Promise<void>) | null = null;

  constructor(deps: RunnerDeps) {
    this.#deps = deps;
    this.#handlers = new Map(deps.handlers.map((handler) => [handler.type, handler]));
  }

  async start(): Promise<void> {
    this.#stopConsuming = await this.#deps.queue.consume((id) => this.#deliver(id), this.#deps.concurrency);
  }

  /** Stops claiming; what runs is given `graceMs` to end, then is handed over to other workers. */
  async stop(graceMs: number): Promise<void> {
    const stopped = this.#stopConsuming?.() ?? Promise.resolve();
    const timer = setTimeout(() => {
      for (const attempt of this.#attempts) attempt.stop("shutdown");
    }, graceMs);
    await stopped;
    clearTimeout(timer);
  }

  async #deliver(id: string): Promise<void> {
    const { ledger, timing, workerId, logger } = this.#deps;
    try {
      const operation = await ledger.claim(id, workerId, timing.leaseMs);
      // Done, gone or somebody's: the queue delivers at least once, the claim decides.
      if (operation !== null) await this.#attempt(operation);
    } catch (error) {
      // The database is away: the lease runs out, or was never taken, and the sweep sends the id again.
      logger.warn({ err: error, operationId: id }, "an operation could not be taken to its end here");
    }
  }

  async #attempt(operation: ClaimedOperation): Promise<void> {
    const attempt = new Attempt(this.#deps.ledger, operation, this.#deps.logger);
    this.#attempts.add(attempt);
    attempt.begin(this.#deps.timing.leaseMs, this.#deps.timing.heartbeatMs);
    try {
      const handler = this.#handlers.get(operation.operationType);
      const outcome = await this.#outcome(attempt, handler);
      if (outcome === "lost") return;
      if (outcome === "hand-over") await this.#deps.ledger.handOver(operation.id, operation.attempt);
      else await this.#finish(operation, handler, outcome);
    } catch (error) {
      if (!(error instanceof LeaseLostError)) throw error;
      attempt.logger.info("another attempt has taken over");
    } finally {
      await attempt.end();
      this.#attempts.delete(attempt);
    }
  }

  async #finish(
    operation: ClaimedOperation,
    handler: OperationHandler | undefined,
    outcome: Outcome,
  ): Promise<void> {
    await this.#deps.ledger.finish(operation.id, operation.attempt, outcome, async (tx) => {
      await handler?.settle?.(tx, operation, outcome);
    });
    await this.#deps.signals.publish("operation.changed", operation.id);
  }

  async #outcome(
    attempt: Attempt,
    handler: OperationHandler | undefined,
  ): Promise<Outcome | "lost" | "hand-over"> {
    const { operation } = attempt;
    if (handler === undefined) return failed(unknownType(operation));
    if (operation.attempt > operation.maxAttempts) return failed(abandoned(operation));
    try {
      const result = await handler.run(attempt);
      return { status: "succeeded", result };
    } catch (error) {
      if (error instanceof LeaseLostError || attempt.stopReason === "lease-lost") return "lost";
      if (attempt.stopReason === "shutdown") return "hand-over";
      if (attempt.stopReason === "cancelled") return { status: "cancelled" };
      if (attempt.stopReason === "timeout") return failed(tooLong(operation));
      if (error instanceof OperationFailure) {
        attempt.logger.info({ problem: error.problem }, "the operation failed");
        return failed(error.problem);
      }
      if (isDatabaseAway(error)) return "hand-over";
      attempt.logger.error({ err: error }, "the operation failed by a fault of Gatehouse");
      return failed(internal(operation));
    }
  }
}

type Problem = ReturnType<typeof problem>;

function failed(error: Problem): Outcome {
  return { status: "failed", error };
}

function unknownType(operation: ClaimedOperation): Problem {
  return problem(
    "unknown-type",
    "Unknown operation type",
    500,
    `this worker does not know ${operation.operationType}`,
  );
}

function abandoned(operation: ClaimedOperation): Problem {
  const detail = `given up after ${operation.maxAttempts} attempts whose workers died or lost their lease`;
  return problem("abandoned", "Operation abandoned", 500, detail);
}

function tooLong(operation: ClaimedOperation): Problem {
  const detail = `ended by force at its time limit of ${operation.timeoutSeconds} s`;
  return problem("timeout", "Time limit reached", 504, detail, { timeoutSeconds: operation.timeoutSeconds });
}

function internal(operation: ClaimedOperation): Problem {
  return problem(
    "internal",
    "Internal error",
    500,
    `an internal error; the log tells more under operation ${operation.id}`,
  );
}
