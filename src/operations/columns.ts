/** An operation's columns, under the names that `Operation` gives them. */
export const COLUMNS = `id, organization_id AS "organizationId", project_id AS "projectId", operation_type AS "operationType",
  resource_type AS "resourceType", resource_id AS "resourceId", status, attempt, revision, progress, steps, result, error,
  created_by AS "createdBy", next_operation_id AS "nextOperationId", created_at AS "createdAt",
  started_at AS "startedAt", finished_at AS "finishedAt"`;

/** Those that a worker has to know besides. */
export const CLAIMED_COLUMNS = `${COLUMNS}, region, payload, payload_secrets AS "payloadSecrets", max_attempts AS "maxAttempts",
  timeout_seconds AS "timeoutSeconds", request_id AS "requestId", traceparent`;
