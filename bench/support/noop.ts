import { CATALOG, type OperationKind, type OperationType } from "../../src/operations/catalog.js";
import type { OperationHandler } from "../../src/worker/handler.js";

/** An operation that does nothing: it exists in the processes of a benchmark alone. */
export const NOOP = "noop" as OperationType;

/** What the product's workers can be asked, and nothing. */
export const BENCH_CATALOG: Readonly<Record<OperationType, OperationKind>> = {
  ...CATALOG,
  [NOOP]: { timeoutSeconds: 60, maxAttempts: 3, cancellable: true, priority: 100 },
};

/**
 * Does nothing.
 * @param began where given, it does so in a step, and the step says at which moment it began
 */
export function noopHandler(began?: (operationId: string) => void): OperationHandler {
  return {
    type: NOOP,
    run: async (context) => {
      if (began !== undefined) await context.step("nothing", async () => began(context.operation.id));
      return null;
    },
  };
}

/** Milliseconds of the machine's monotonic clock: the same in all processes. */
export function machineTime(): number {
  return Number(process.hrtime.bigint()) / 1_000_000;
}
