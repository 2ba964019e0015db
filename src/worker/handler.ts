import type { OperationType } from "../operations/catalog.js";
import type { ClaimedOperation, OperationError, Outcome, Progress } from "../operations/operation.js";
import type { Logger } from "../platform/logger.js";
import type { Sql } from "../platform/sql.js";

export interface StepOptions {
  /** Every attempt does it: for what an attempt's death undoes. */
  readonly repeat?: boolean;
  /** The point of no return: from here on a cancellation comes too late. */
  readonly final?: boolean;
  /** That it begins is on disk before it begins, for an end that goes by that. What is final always is. */
  readonly recordFirst?: boolean;
}

/** What a handler works with: one attempt at one operation. */
export interface HandlerContext {
  readonly operation: ClaimedOperation;
  /** Aborted on cancel, timeout, loss of the lease and shutdown. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /**
   * Does a named step once: an attempt that finds it recorded skips it and gets what it returned then (through
   * JSON). The record is written after the effect, so an effect must be safe to repeat. That a step has begun is
   * written beside it.
   */
  step<T>(name: string, work: () => Promise<T>, options?: StepOptions): Promise<T>;
  /** Says how far it is; written at most twice a second. */
  progress(progress: Progress): void;
  /** A transaction that is rolled back where another attempt has taken over. */
  write<T>(work: (tx: Sql) => Promise<T>): Promise<T>;
}

/** Does the work of one type of operation. */
export interface OperationHandler {
  readonly type: OperationType;
  /** The result, or a throw: an OperationFailure for the expected, anything else is an internal error. */
  run(context: HandlerContext): Promise<unknown>;
  /**
   * Ends what earlier attempts have begun, without doing the work; asked instead of `run` where the operation is to
   * end now, because it was cancelled or too many of its workers have died. The result where one of them had its
   * effect all the same; null where none had, and then nothing that it wrote aside is left.
   */
  conclude?(context: HandlerContext): Promise<{ readonly result: unknown } | null>;
  /** What else is written in the transaction that ends the operation. */
  settle?(tx: Sql, operation: ClaimedOperation, outcome: Outcome): Promise<void>;
}

/** An expected end without success, recorded in the operation for the client to read. */
export class OperationFailure extends Error {
  readonly problem: OperationError;

  constructor(problem: OperationError, cause?: unknown) {
    super(problem.detail, cause === undefined ? undefined : { cause });
    this.name = "OperationFailure";
    this.problem = problem;
  }
}

/**
 * A fault that may pass, such as a store that went away in the midst of the work: the operation is given back and
 * tried again, until `attempts` were made; then it fails with the problem.
 */
export class Interruption extends OperationFailure {
  readonly attempts: number;

  constructor(problem: OperationError, attempts: number, cause: unknown) {
    super(problem, cause);
    this.name = "Interruption";
    this.attempts = attempts;
  }
}

/** What is left to be done is done by the workers of another region: the operation is given to them. */
export class Onward extends Error {
  readonly region: string;

  constructor(region: string) {
    super(`the workers of the region ${region} go on`);
    this.name = "Onward";
    this.region = region;
  }
}

/** An RFC 9457 problem for an operation's `error`. */
export function problem(
  code: string,
  title: string,
  status: number,
  detail: string,
  details: Readonly<Record<string, string | number>> = {},
): OperationError {
  return { ...details, type: `urn:gatehouse:error:${code}`, title, status, detail };
}
