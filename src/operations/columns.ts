const columns = (
  result: string,
): string => `id, organization_id AS "organizationId", project_id AS "projectId", operation_type AS "operationType",
  resource_type AS "resourceType", resource_id AS "resourceId", status, attempt, revision, progress, steps, ${result}, error,
  created_by AS "createdBy", next_operation_id AS "nextOperationId", created_at AS "createdAt",
  started_at AS "startedAt", finished_at AS "finishedAt"`;

/** An operation's columns, under the names that `Operation` gives them. */
export const COLUMNS = columns("result");

/** Bytes, as stored: where a result is larger, lists leave it out, so that a page of them has a size that can be borne. */
const LISTED_RESULT = 8_192;
export const LISTED_COLUMNS = columns(
  `CASE WHEN pg_column_size(result) <= ${LISTED_RESULT} THEN result END AS result`,
);

/** Those that a worker has to know besides. */
export const CLAIMED_COLUMNS = `${COLUMNS}, region, payload, payload_secrets AS "payloadSecrets", max_attempts AS "maxAttempts",
  timeout_seconds AS "timeoutSeconds", request_id AS "requestId", traceparent`;
