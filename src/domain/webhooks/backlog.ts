import { KeptRows } from "../../platform/kept-rows.js";
import type { Logger } from "../../platform/logger.js";
import { gaugeOfMeasured, type Metrics } from "../../platform/metrics.js";
import type { Sql } from "../../platform/sql.js";
import { DUE, OWING_WEBHOOKS } from "./outbox-sql.js";

/** So many pending deliveries are counted at most. */
const WINDOW = 10_000;

/** As long as webhooks are few, it costs the same however much is pending. */
const BACKLOG = {
  name: "webhooks_backlog",
  text: `WITH RECURSIVE ${OWING_WEBHOOKS},
           enabled AS (
             SELECT w.id FROM owing JOIN webhooks w ON w.id = webhook_id
             WHERE w.disabled_at IS NULL AND w.deleted_at IS NULL)
         SELECT
           (SELECT count(*)::int FROM (
             SELECT FROM enabled e JOIN webhook_deliveries d ON d.webhook_id = e.id AND d.status = 'pending'
             LIMIT ${WINDOW}) AS head) AS pending,
           (SELECT extract(epoch FROM clock_timestamp() - min(first.next_attempt_at))::float8
            FROM enabled e CROSS JOIN LATERAL (
              SELECT d.next_attempt_at FROM webhook_deliveries d WHERE d.webhook_id = e.id AND ${DUE}
              ORDER BY d.next_attempt_at LIMIT 1) AS first) AS age`,
};

interface Row {
  readonly pending: number;
  /** Seconds; null: nothing is due. */
  readonly age: number | null;
}

/** Shows what waits to be sent to webhooks in the whole installation: the same in every process. */
export function showWebhookBacklog(metrics: Metrics, sql: Sql, logger: Logger): void {
  const backlog = new KeptRows<Row>(sql, BACKLOG, logger);
  const row = async (): Promise<Row | null> => (await backlog.rows())?.[0] ?? null;
  gaugeOfMeasured(
    metrics,
    "gatehouse_webhook_deliveries_pending",
    `Deliveries to webhooks of the installation that have not ended, those that wait for another try included; of at most ${WINDOW}.`,
    row,
    ({ pending }) => pending,
  );
  gaugeOfMeasured(
    metrics,
    "gatehouse_webhook_oldest_due_seconds",
    "How long the delivery of the installation that is due has waited for a worker, the oldest; 0: none is due.",
    row,
    ({ age }) => Math.max(0, age ?? 0),
  );
}
