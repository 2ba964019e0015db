import { newId } from "../platform/ids.js";
import { type OperationKind, type OperationType, SCHEDULED_HANDICAP, URGENT } from "./catalog.js";
import type { Operation, OperationActor, OperationOrigin } from "./operation.js";

/** What is locked while an operation is active: `job:run` and the job's id, for instance. */
export interface LockTarget {
  readonly type: string;
  readonly id: string;
}

/** A wish for work, still to be accepted. */
export interface OperationRequest extends Wish {
  readonly locks: readonly LockTarget[];
}

/** A wish for work that is in nothing's way. */
export interface LocklessRequest extends Wish {
  readonly locks?: never;
}

interface Wish {
  /** Chosen by the caller where other rows of the transaction name it. */
  readonly id?: string;
  readonly organizationId: string;
  readonly projectId: string | null;
  readonly operationType: OperationType;
  readonly resource: LockTarget;
  readonly payload: unknown;
  readonly payloadSecrets?: Uint8Array;
  readonly createdBy: OperationActor;
  /** The workers of this region do it; absent: any worker. */
  readonly region?: string;
  readonly origin: OperationOrigin;
  /** A schedule asks, not somebody who waits: what clients ask for comes first. */
  readonly scheduled?: boolean;
  /** Of what is urgent by its type: no request waits for it, so it takes a slot and its turn like any other work. */
  readonly unhurried?: boolean;
}

/** A row of `operations` that is about to be written, as statements read it. */
export interface NewRow {
  readonly id: string;
  readonly organization_id: string;
  readonly project_id: string | null;
  readonly operation_type: OperationType;
  readonly resource_type: string;
  readonly resource_id: string;
  readonly payload: unknown;
  readonly payload_secrets: string | null;
  readonly priority: number;
  readonly max_attempts: number;
  readonly timeout_seconds: number;
  readonly created_by: OperationActor;
  readonly region: string | null;
  readonly request_id: string | null;
  readonly traceparent: string | null;
  readonly created_at: Date;
}

/** `NewRow` in a list of columns with their types (`jsonb_to_recordset`). */
export const NEW_ROW = `id uuid, organization_id uuid, project_id uuid, operation_type text, resource_type text,
  resource_id uuid, payload jsonb, payload_secrets text, priority int, max_attempts int, timeout_seconds int,
  created_by jsonb, region text, request_id text, traceparent text, created_at timestamptz`;

export const NEW_COLUMNS = `id, organization_id, project_id, operation_type, resource_type, resource_id,
    payload, payload_secrets, priority, max_attempts, timeout_seconds, created_by, region, request_id, traceparent,
    created_at`;

/** What is written in `NEW_COLUMNS`, of a row with the columns of `NEW_ROW`. */
export const NEW_VALUES = `id, organization_id, project_id, operation_type, resource_type, resource_id, coalesce(payload, 'null'),
    decode(payload_secrets, 'hex'), priority, max_attempts, timeout_seconds, created_by, region, request_id, traceparent,
    created_at`;

export function rowOf(request: Wish, kind: OperationKind): NewRow {
  const { payloadSecrets, scheduled = false, unhurried = false } = request;
  return {
    id: request.id ?? newId(),
    organization_id: request.organizationId,
    project_id: request.projectId,
    operation_type: request.operationType,
    resource_type: request.resource.type,
    resource_id: request.resource.id,
    payload: request.payload,
    payload_secrets: payloadSecrets === undefined ? null : Buffer.from(payloadSecrets).toString("hex"),
    priority: Math.max(kind.priority, unhurried ? URGENT : 0) + (scheduled ? SCHEDULED_HANDICAP : 0),
    max_attempts: kind.maxAttempts,
    timeout_seconds: kind.timeoutSeconds,
    created_by: request.createdBy,
    region: request.region ?? null,
    request_id: request.origin.requestId,
    traceparent: request.origin.traceparent ?? null,
    // By the clock that the id is from: both are known before the row is written, and so is what is answered.
    created_at: new Date(),
  };
}

/** The operation that a row becomes: what the table adds to it is always the same. */
export function operationOf(row: NewRow): Operation {
  return {
    id: row.id,
    organizationId: row.organization_id,
    projectId: row.project_id,
    operationType: row.operation_type,
    resourceType: row.resource_type,
    resourceId: row.resource_id,
    status: "pending",
    attempt: 0,
    revision: 1,
    progress: { percent: 0, message: "waiting" },
    steps: [],
    result: null,
    error: null,
    createdBy: row.created_by,
    nextOperationId: null,
    createdAt: row.created_at,
    startedAt: null,
    finishedAt: null,
  };
}
