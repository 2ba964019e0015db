import {
  isDone,
  type Operation,
  type OperationStatus,
  type OperationStep,
  secondsLeft,
} from "./operation.js";

/** A step as clients see it. */
export interface OperationStepView {
  readonly name: string;
  readonly status: OperationStep["status"] | "cancelled";
  readonly startedAt: string;
  readonly finishedAt: string | null;
  readonly message: string | null;
}

/** An operation as clients see it: in answers, in server-sent events and in webhooks. */
export interface OperationView {
  readonly id: string;
  readonly operationType: string;
  readonly status: OperationStatus;
  readonly done: boolean;
  readonly resource: { readonly type: string; readonly id: string; readonly href: string | null };
  readonly projectId: string | null;
  readonly progress: {
    readonly percent: number;
    readonly message: string;
    readonly secondsLeft: number | null;
  };
  readonly steps: readonly OperationStepView[];
  readonly result: unknown;
  readonly error: Operation["error"];
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly createdBy: Operation["createdBy"];
  readonly nextOperationId: string | null;
}

const HREFS: Readonly<Record<string, (id: string) => string>> = {
  run: (id) => `/api/v1/job-runs/${id}`,
  job: (id) => `/api/v1/jobs/${id}`,
  deployment: (id) => `/databases/${id}`,
};

/** @param now milliseconds since 1970: what the estimate of the time left counts from */
export function viewOperation(operation: Operation, now: number): OperationView {
  const { id, operationType, status, resourceType, resourceId } = operation;
  const { measured: _measured, ...progress } = operation.progress;
  return {
    id,
    operationType,
    status,
    done: isDone(status),
    resource: { type: resourceType, id: resourceId, href: HREFS[resourceType]?.(resourceId) ?? null },
    projectId: operation.projectId,
    progress: { ...progress, secondsLeft: secondsLeft(operation, now) },
    steps: viewSteps(operation),
    result: operation.result,
    error: operation.error,
    createdAt: operation.createdAt.toISOString(),
    startedAt: operation.startedAt?.toISOString() ?? null,
    finishedAt: operation.finishedAt?.toISOString() ?? null,
    createdBy: operation.createdBy,
    nextOperationId: operation.nextOperationId,
  };
}

/**
 * An operation's steps, without what they found out for later attempts. One that was under way when the operation ended
 * has ended as that did.
 */
export function viewSteps({ status: end, finishedAt: endedAt, steps }: Operation): OperationStepView[] {
  return steps.map(({ name, status, startedAt, finishedAt, message }) =>
    status === "running" && isDone(end)
      ? { name, status: end, startedAt, finishedAt: endedAt?.toISOString() ?? null, message }
      : { name, status, startedAt, finishedAt, message },
  );
}
