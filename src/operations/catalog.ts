/** What can be asked of workers, and within which bounds. */
export interface OperationKind {
  /** Seconds from the start of an attempt to its end by force. */
  readonly timeoutSeconds: number;
  /** Claims before it is given up: only workers that died or slept count. */
  readonly maxAttempts: number;
  readonly cancellable: boolean;
  /** Lower runs earlier: what somebody waits for in a request comes first. */
  readonly priority: number;
}

const DAY = 86_400;

export const CATALOG = {
  /** Executes a run of a BATCH job. */
  sync: { timeoutSeconds: DAY, maxAttempts: 20, cancellable: true, priority: 100 },
  /** Tests a connection for a request that waits. */
  check: { timeoutSeconds: 10, maxAttempts: 2, cancellable: true, priority: 10 },
  /** Lists the streams of a source for a request that waits. */
  discover: { timeoutSeconds: 10, maxAttempts: 2, cancellable: true, priority: 10 },
} as const satisfies Record<string, OperationKind>;

export type OperationType = keyof typeof CATALOG;
