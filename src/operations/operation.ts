import type { OperationType } from "./catalog.js";

export type OperationStatus = "pending" | "running" | "cancelling" | "succeeded" | "failed" | "cancelled";

const DONE: ReadonlySet<OperationStatus> = new Set(["succeeded", "failed", "cancelled"]);

/** Whether an operation has ended, for good or ill. */
export function isDone(status: OperationStatus): status is Outcome["status"] {
  return DONE.has(status);
}

export interface Progress {
  /** 0 to 100. Where nothing is measured it tells phases apart, not how long they take. */
  readonly percent: number;
  readonly message: string;
  readonly rows?: number;
  readonly bytes?: number;
  readonly streams?: Readonly<Record<string, { readonly rows: number; readonly bytes: number }>>;
  /** Absent: nobody counts, or how much there will be is not known. Never shown. */
  readonly measured?: Measured;
}

/** How much of a known total is done. */
interface Measured {
  /** When counting began: earlier phases and attempts do not count. */
  readonly since: string;
  /** 0 to 1; 1 where something that is not counted remains, or there is more than was known. */
  readonly share: number;
}

/** A named part of an operation, recorded after its effect. */
export interface OperationStep {
  readonly name: string;
  readonly status: "running" | "succeeded" | "failed";
  readonly startedAt: string;
  readonly finishedAt: string | null;
  readonly message: string | null;
  /** What the step found out, for a later attempt that skips it; never shown. */
  readonly value?: unknown;
}

/** Why an operation failed: an RFC 9457 problem without the request's part. */
export interface OperationError {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly [detail: string]: string | number;
}

/** Who asked for it. */
export interface OperationActor {
  readonly kind: "client" | "key" | "user" | "system";
  readonly id: string;
  readonly name: string;
}

/** The request that asked for it. */
export interface OperationOrigin {
  /** Null: it was no request, a schedule for instance. */
  readonly requestId: string | null;
  /** Its span (W3C Trace Context), which the work continues; null or absent: nobody traces it. */
  readonly traceparent?: string | null;
}

/** One accepted piece of asynchronous work on one resource. */
export interface Operation {
  readonly id: string;
  readonly organizationId: string;
  readonly projectId: string | null;
  readonly operationType: OperationType;
  readonly resourceType: string;
  readonly resourceId: string;
  readonly status: OperationStatus;
  readonly attempt: number;
  /** Grows with every change that clients can see. */
  readonly revision: number;
  readonly progress: Progress;
  readonly steps: readonly OperationStep[];
  readonly result: unknown;
  readonly error: OperationError | null;
  readonly createdBy: OperationActor;
  readonly nextOperationId: string | null;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
}

/** An operation in the hands of a worker: what it has to do is in it too. */
export interface ClaimedOperation extends Operation, Required<OperationOrigin> {
  /** Whose workers do it; null: all. */
  readonly region: string | null;
  readonly payload: unknown;
  readonly payloadSecrets: Buffer | null;
  readonly maxAttempts: number;
  readonly timeoutSeconds: number;
}

/** How an attempt ended. */
export type Outcome =
  | { readonly status: "succeeded"; readonly result: unknown }
  | { readonly status: "failed"; readonly error: OperationError }
  | { readonly status: "cancelled" };

/** Less says nothing yet. */
const MEANINGFUL_SHARE = 0.01;

/** Seconds until what is counted will be done if it goes on as it has; null: nothing is measured. */
export function secondsLeft({ status, progress }: Operation, now: number): number | null {
  if (isDone(status)) return 0;
  const { since = "", share = 0 } = progress.measured ?? {};
  if (status !== "running" || share < MEANINGFUL_SHARE || share >= 1) return null;
  const elapsed = Math.max(0, now - Date.parse(since)) / 1_000;
  return Math.ceil((elapsed / share) * (1 - share));
}
