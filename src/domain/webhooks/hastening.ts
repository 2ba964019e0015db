import { setTimeout as delay } from "node:timers/promises";
import { inBatches } from "../../platform/batches.js";
import type { Logger } from "../../platform/logger.js";
import type { Database } from "../../platform/sql.js";

const BATCH = 1_000;
/** A request waits no longer for it: the rest goes on behind it. */
const AWAITED_MS = 1_000;

const HOLD_OPEN = {
  name: "webhook_hold_open",
  text: `SELECT clock_timestamp() AS now FROM webhooks
         WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL FOR NO KEY UPDATE`,
};

/**
 * Of a webhook that is held: looks at the next that are not due by $2, and makes those due that wait for nothing
 * but their time. Those that wait for another event of their operation are called when that one is done; and what was
 * tried since $2 waits for its next try as ever.
 */
const HASTEN = {
  name: "webhook_hasten",
  text: `WITH seen AS (
           SELECT d.id, d.operation_id, d.position, d.ordered, d.attempt, d.next_attempt_at FROM webhook_deliveries d
           WHERE d.webhook_id = $1 AND d.status = 'pending'
             AND (d.next_attempt_at, d.position) > ($3::timestamptz, $4::bigint)
           ORDER BY d.next_attempt_at, d.position LIMIT ${BATCH}),
         hastened AS (
           UPDATE webhook_deliveries h SET next_attempt_at = $2::timestamptz FROM seen
           WHERE h.id = seen.id
             AND NOT (seen.ordered AND EXISTS (
               SELECT FROM webhook_deliveries b
               WHERE b.webhook_id = $1 AND b.operation_id = seen.operation_id AND b.status = 'pending'
                 AND b.ordered AND b.position < seen.position))
             AND NOT EXISTS (
               SELECT FROM webhook_attempts a
               WHERE a.delivery_id = seen.id AND a.number = seen.attempt AND a.started_at >= $2::timestamptz))
         SELECT (SELECT count(*)::int FROM seen) AS count, next_attempt_at AS at, position
         FROM seen ORDER BY next_attempt_at DESC, position DESC LIMIT 1`,
};

/** How far a pass has come. */
interface Mark {
  readonly at: Date;
  readonly position: string;
}

interface Pass {
  since: Date | null;
  last: Mark | null;
}

export interface HasteningDeps {
  readonly db: Database;
  readonly logger: Logger;
  /** Called when there may be something to deliver. */
  readonly due: () => void;
}

/** Lets what waits for its next try go now, where a webhook has a new URL or is enabled again. */
export class Hastening {
  readonly #deps: HasteningDeps;
  readonly #passes = new Map<string, AbortController>();

  constructor(deps: HasteningDeps) {
    this.#deps = deps;
  }

  /**
   * After the transaction that resumes the webhook, in batches that are committed one by one: hundreds of thousands may
   * wait, too many for one transaction. Where the process dies between, the rest goes at its own time: later, but not
   * never. Resolves when all is done or the request has waited long enough; never rejects, as the change is made.
   */
  async hasten(webhookId: string): Promise<void> {
    const { logger, due } = this.#deps;
    // The new one begins at the beginning: one at a time is enough.
    this.#passes.get(webhookId)?.abort();
    const abort = new AbortController();
    this.#passes.set(webhookId, abort);
    const pass = this.#pass(webhookId, abort.signal)
      .catch((err: unknown) => {
        logger.warn({ err, webhookId }, "what waits for a webhook was not made due: it comes at its time");
      })
      .finally(() => {
        if (this.#passes.get(webhookId) === abort) this.#passes.delete(webhookId);
        due();
      });
    await Promise.race([pass, delay(AWAITED_MS, undefined, { ref: false })]);
    due();
  }

  async #pass(webhookId: string, signal: AbortSignal): Promise<void> {
    const pass: Pass = { since: null, last: null };
    await inBatches(BATCH, signal, () => this.#batch(webhookId, pass));
  }

  /** Says how many it has looked at. */
  #batch(webhookId: string, pass: Pass): Promise<number> {
    return this.#deps.db.transaction(async (tx) => {
      const [held] = await tx.rows<{ now: Date }>(HOLD_OPEN, [webhookId]);
      if (held === undefined) return 0;
      pass.since ??= held.now;
      const { at, position } = pass.last ?? { at: pass.since, position: "0" };
      const [last] = await tx.rows<Mark & { count: number }>(HASTEN, [webhookId, pass.since, at, position]);
      pass.last = last ?? null;
      return last?.count ?? 0;
    });
  }
}
