import { Counter, Histogram } from "prom-client";
import type { Logger } from "../platform/logger.js";
import type { Metrics } from "../platform/metrics.js";
import type { ClaimedOperation, Operation, OperationOrigin, Outcome } from "./operation.js";

/** Hears of what happens to operations in this process, once it has happened. Must not throw. */
export interface LedgerObserver {
  accepted(operation: Operation, origin: OperationOrigin): void;
  claimed(operation: ClaimedOperation): void;
  /** @param seconds since it was claimed for the first time */
  finished(operationType: string, status: Outcome["status"], seconds: number): void;
}

/** Seconds. */
const LAG_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const DURATION_BUCKETS = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3_600, 14_400];

/** Counts and measures operations, and says in the log which request each came from. */
export function observeLedger(metrics: Metrics, logger: Logger): LedgerObserver {
  const registers = [metrics];
  const accepted = new Counter({
    name: "gatehouse_operations_accepted_total",
    help: "Operations that this process has accepted, by type.",
    labelNames: ["type"],
    registers,
  });
  const finished = new Counter({
    name: "gatehouse_operations_finished_total",
    help: "Operations that this process has ended, by type and how they ended.",
    labelNames: ["type", "status"],
    registers,
  });
  const lag = new Histogram({
    name: "gatehouse_operation_dispatch_lag_seconds",
    help: "From the acceptance of an operation to its first claim by a worker, by type.",
    labelNames: ["type"],
    buckets: LAG_BUCKETS,
    registers,
  });
  const duration = new Histogram({
    name: "gatehouse_operation_duration_seconds",
    help: "From the first claim of an operation to its end, by type.",
    labelNames: ["type"],
    buckets: DURATION_BUCKETS,
    registers,
  });
  return {
    accepted: ({ id, operationType: type, projectId }, { requestId }) => {
      accepted.inc({ type });
      logger.info({ operationId: id, operationType: type, projectId, requestId }, "operation accepted");
    },
    claimed: ({ operationType: type, attempt, createdAt, startedAt }) => {
      if (attempt !== 1 || startedAt === null) return;
      lag.observe({ type }, Math.max(0, startedAt.getTime() - createdAt.getTime()) / 1_000);
    },
    finished: (type, status, seconds) => {
      finished.inc({ type, status });
      duration.observe({ type }, seconds);
    },
  };
}
