import { FIRST_ID_KEPT } from "../../operations/retention.js";
import { inBatches } from "../../platform/batches.js";
import type { Sql } from "../../platform/sql.js";

const BATCH = 1_000;

const PRUNE_EVENTS = {
  name: "webhook_events_prune",
  text: `DELETE FROM webhook_events WHERE id = ANY (ARRAY(
           SELECT id FROM webhook_events WHERE id < ${FIRST_ID_KEPT} ORDER BY id LIMIT ${BATCH} FOR UPDATE SKIP LOCKED))`,
};

/** Of webhooks that were deleted; a moment later, so that operations that were just telling them have ended. */
const PRUNE_DELIVERIES = {
  name: "webhook_deliveries_prune",
  text: `DELETE FROM webhook_deliveries WHERE id = ANY (ARRAY(
           SELECT d.id FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
           WHERE w.deleted_at < now() - interval '1 hour' LIMIT ${BATCH} FOR UPDATE OF d SKIP LOCKED))`,
};

const PRUNE_WEBHOOKS = {
  name: "webhooks_prune",
  text: `DELETE FROM webhooks w WHERE deleted_at < now() - interval '1 hour'
           AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id)`,
};

const PRUNE_SECRETS = {
  name: "webhook_secrets_prune",
  text: "DELETE FROM webhook_secrets WHERE expires_at < now()",
};

/**
 * Removes what happened more than `days` ago, whatever became of it, in batches, and what is left of webhooks that
 * were deleted; says how many events and deliveries.
 */
export async function pruneWebhooks(sql: Sql, days: number, signal?: AbortSignal): Promise<number> {
  const events = await inBatches(BATCH, signal, () => sql.run(PRUNE_EVENTS, [days]));
  const deliveries = await inBatches(BATCH, signal, () => sql.run(PRUNE_DELIVERIES));
  for (const rest of [PRUNE_WEBHOOKS, PRUNE_SECRETS]) if (signal?.aborted !== true) await sql.run(rest);
  return events + deliveries;
}
