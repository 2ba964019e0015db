import type { StoredEvent } from "./message.js";

/** Nobody works at it, and it may be tried. */
export const DUE = `d.status = 'pending' AND d.next_attempt_at <= clock_timestamp()
  AND (d.lease_expires_at IS NULL OR d.lease_expires_at < clock_timestamp())`;

const LIVE_LEASES = `SELECT count(*) AS count FROM webhook_deliveries l
  WHERE l.webhook_id = w.id AND l.lease_expires_at >= clock_timestamp()`;

/**
 * Goes from webhook to webhook through the index, so it costs as much as there are webhooks with something pending,
 * however much that is (https://wiki.postgresql.org/wiki/Loose_indexscan).
 */
export const OWING_WEBHOOKS = `owing (webhook_id) AS (
           (SELECT webhook_id FROM webhook_deliveries WHERE status = 'pending' ORDER BY webhook_id LIMIT 1)
           UNION ALL
           SELECT (SELECT d.webhook_id FROM webhook_deliveries d
                   WHERE d.status = 'pending' AND d.webhook_id > o.webhook_id ORDER BY d.webhook_id LIMIT 1)
           FROM owing o WHERE o.webhook_id IS NOT NULL)`;

/**
 * Places are few: who has the fewest gets the next one, and of these who does not fail. By age alone those who are slow, and
 * have a backlog of old ones therefore, would take each place that is given back before anybody else.
 */
export const OWING = {
  name: "webhooks_owing",
  text: `WITH RECURSIVE ${OWING_WEBHOOKS}
         SELECT w.id, w.organization_id AS "organizationId" FROM owing o JOIN webhooks w ON w.id = o.webhook_id
         CROSS JOIN LATERAL (
           SELECT d.next_attempt_at FROM webhook_deliveries d WHERE d.webhook_id = w.id AND ${DUE}
           ORDER BY d.next_attempt_at, d.position LIMIT 1) AS first
         CROSS JOIN LATERAL (${LIVE_LEASES}) AS leases
         WHERE w.disabled_at IS NULL AND w.deleted_at IS NULL AND NOT w.organization_id = ANY ($1::uuid[])
           AND leases.count < CASE WHEN w.failures > 0 THEN 1 ELSE $2::int END
         ORDER BY leases.count, w.failures > 0, first.next_attempt_at LIMIT $3`,
};

/** Weaker than FOR UPDATE: operations that put events into the outbox do not wait. */
export const HOLD_FREE = {
  name: "webhook_hold_free",
  text: `SELECT url, failures > 0 AS failing FROM webhooks
         WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL FOR NO KEY UPDATE SKIP LOCKED`,
};

export const HOLD = {
  name: "webhook_hold",
  text: "SELECT url, failures FROM webhooks WHERE id = $1 FOR NO KEY UPDATE",
};

/** How many due deliveries one claim looks at. */
const WINDOW = 200;
/** Those that wait for another of their operation are looked at again when it is done; at the latest after this. */
const TURN_MS = 1_000;

/** A delivery that was taken, its id, and its event. */
export interface ClaimedRow extends StoredEvent {
  readonly attempt: number;
  readonly tries: number;
  readonly maxTries: number | null;
  readonly eventId: string;
}

/**
 * Of a webhook that is held: takes at most $2 deliveries, so that at most $3 are on their way. What is due but has to
 * wait for an earlier event of its operation is put off until that one's next try: it costs no look in between.
 */
export const CLAIM = {
  name: "webhook_claim",
  text: `WITH due AS (
           SELECT d.id, d.operation_id, d.position, d.ordered, d.next_attempt_at FROM webhook_deliveries d
           WHERE d.webhook_id = $1 AND ${DUE} ORDER BY d.next_attempt_at, d.position LIMIT ${WINDOW}),
         judged AS (
           SELECT due.*, (
             SELECT b.next_attempt_at FROM webhook_deliveries b
             WHERE due.ordered AND b.webhook_id = $1 AND b.operation_id = due.operation_id AND b.status = 'pending'
               AND b.ordered AND b.position < due.position ORDER BY b.position LIMIT 1) AS waits_for
           FROM due),
         put_off AS (
           UPDATE webhook_deliveries p
           SET next_attempt_at = greatest(waits_for, clock_timestamp() + interval '${TURN_MS} milliseconds')
           FROM judged WHERE p.id = judged.id AND waits_for IS NOT NULL),
         taken AS (
           SELECT id FROM judged WHERE waits_for IS NULL ORDER BY next_attempt_at, position
           LIMIT greatest(0, least($2::int, $3::int - (
             SELECT count(*) FROM webhook_deliveries l
             WHERE l.webhook_id = $1 AND l.lease_expires_at >= clock_timestamp())))),
         claimed AS (
           UPDATE webhook_deliveries c
           SET attempt = attempt + 1, leased_by = $4,
               lease_expires_at = clock_timestamp() + $5::int * interval '1 millisecond'
           FROM taken WHERE c.id = taken.id
           RETURNING c.id, c.attempt, c.tries, c.max_tries, c.event_id, c.position)
         SELECT c.id, c.attempt, c.tries, c.max_tries AS "maxTries", e.id AS "eventId", e.type,
           e.organization_id AS "organizationId", e.project_id AS "projectId", e.operation_id AS "operationId", e.data,
           e.occurred_at AS "occurredAt"
         FROM claimed c JOIN webhook_events e ON e.id = c.event_id ORDER BY c.position`,
};

export const SECRETS = {
  name: "webhook_live_secrets",
  text: `SELECT id, sealed FROM webhook_secrets
         WHERE webhook_id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY id DESC`,
};

const MINE = "d.status = 'pending' AND d.leased_by =";

export const RENEW = {
  name: "webhook_renew",
  text: `UPDATE webhook_deliveries d SET lease_expires_at = clock_timestamp() + $4::int * interval '1 millisecond'
         FROM unnest($1::uuid[], $2::int[]) AS held (id, attempt)
         WHERE d.id = held.id AND d.attempt = held.attempt AND ${MINE} $3 RETURNING d.id, d.attempt`,
};

export const RELEASE = {
  name: "webhook_release",
  text: `UPDATE webhook_deliveries d SET lease_expires_at = NULL, leased_by = NULL
         WHERE d.id = $1 AND d.attempt = $2 AND ${MINE} $3`,
};

export const FINISH = {
  name: "webhook_finish",
  text: `WITH mine AS (
           UPDATE webhook_deliveries d
           SET status = $4, tries = $5, lease_expires_at = NULL, leased_by = NULL,
               finished_at = CASE WHEN $4 = 'pending' THEN NULL ELSE clock_timestamp() END,
               next_attempt_at = clock_timestamp() + $6::float8 * interval '1 millisecond'
           WHERE d.id = $1 AND d.attempt = $2 AND ${MINE} $3 RETURNING d.id, d.attempt)
         INSERT INTO webhook_attempts (delivery_id, number, started_at, duration_ms, status_code, response, error)
         SELECT id, attempt, $7::timestamptz, $8::int, $9::int, $10, $11 FROM mine`,
};

export const FORGET_ATTEMPTS = {
  name: "webhook_forget_attempts",
  text: "DELETE FROM webhook_attempts WHERE delivery_id = $1 AND number <= $2",
};

export const NEXT_IN_TURN = {
  name: "webhook_next_in_turn",
  text: `UPDATE webhook_deliveries SET next_attempt_at = clock_timestamp() WHERE id = (
           SELECT id FROM webhook_deliveries
           WHERE webhook_id = $1 AND operation_id = $2 AND status = 'pending' AND ordered AND tries = 0
           ORDER BY position LIMIT 1)`,
};

export const COUNT_SUCCESS = {
  name: "webhook_count_success",
  text: "UPDATE webhooks SET failures = 0, failing_since = NULL WHERE id = $1",
};

export const COUNT_FAILURE = {
  name: "webhook_count_failure",
  text: `UPDATE webhooks SET failures = failures + 1, failing_since = coalesce(failing_since, clock_timestamp())
         WHERE id = $1
         RETURNING failures, (extract(epoch FROM clock_timestamp() - failing_since) * 1000)::float8 AS "failingMs"`,
};

export const DISABLE = {
  name: "webhook_disable",
  text: `UPDATE webhooks SET disabled_at = clock_timestamp(), disabled_reason = $2
         WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL`,
};

export const PROJECT_OF = {
  name: "webhook_project",
  text: `SELECT project_id AS "projectId" FROM webhooks WHERE id = $1`,
};
