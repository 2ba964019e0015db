import { isDone, type Operation, type OperationStatus, secondsLeft } from "./operation.js";

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
  readonly steps: readonly {
    readonly name: string;
    readonly status: "running" | "succeeded" | "failed";
    readonly startedAt: string;
    readonly finishedAt: string | null;
    readonly message: string | null;
  }[];
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
  return {
    id,
    operationType,
    status,
    done: isDone(status),
    resource: { type: resourceType, id: resourceId, href: HREFS[resourceType]?.(resourceId) ?? null },
    projectId: operation.projectId,
    progress: { ...operation.progress, secondsLeft: secondsLeft(operation, now) },
    // What a step found out for later attempts is not for clients.
    steps: operation.steps.map(({ name, status, startedAt, finishedAt, message }) => ({
      name,
      status,
      startedAt,
      finishedAt,
      message,
    })),
    result: operation.result,
    error: operation.error,
    createdAt: operation.createdAt.toISOString(),
    startedAt: operation.startedAt?.toISOString() ?? null,
    finishedAt: operation.finishedAt?.toISOString() ?? null,
    createdBy: operation.createdBy,
    nextOperationId: operation.nextOperationId,
  };
}
