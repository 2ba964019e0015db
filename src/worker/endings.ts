import type { ClaimedOperation, Outcome } from "../operations/operation.js";
import { problem } from "./handler.js";

/**
 * Milliseconds until the next try, a second more with every attempt: a database that comes back slowly does not use all
 * of them up.
 */
export function pauseAfter(attempt: number): number {
  return Math.min(attempt, 30) * 1_000;
}

type Problem = ReturnType<typeof problem>;

export function failed(error: Problem): Outcome {
  return { status: "failed", error };
}

export function unknownType(operation: ClaimedOperation): Problem {
  return problem(
    "unknown-type",
    "Unknown operation type",
    500,
    `this worker does not know ${operation.operationType}`,
  );
}

export function abandoned(operation: ClaimedOperation): Problem {
  const detail = `given up after ${operation.maxAttempts} attempts whose workers died or lost their lease`;
  return problem("abandoned", "Operation abandoned", 500, detail);
}

export function tooLong(operation: ClaimedOperation): Problem {
  const detail = `ended by force at its time limit of ${operation.timeoutSeconds} s`;
  return problem("timeout", "Time limit reached", 504, detail, { timeoutSeconds: operation.timeoutSeconds });
}

export function internal(operation: ClaimedOperation): Problem {
  return problem(
    "internal",
    "Internal error",
    500,
    `an internal error; the log tells more under operation ${operation.id}`,
  );
}
