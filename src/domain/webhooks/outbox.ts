import type { Database, Sql } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import { system } from "../system.js";
import { KEPT_ATTEMPTS } from "./deliveries.js";
import { PING } from "./filter.js";
import type { StoredEvent } from "./message.js";
import * as sql from "./outbox-sql.js";
import type { DeliveryPolicy } from "./policy.js";
import type { SealedSecret } from "./secrets.js";
import type { DisabledReason } from "./view.js";

/** A webhook that has something to be delivered. */
export interface OwingWebhook {
  readonly id: string;
  readonly organizationId: string;
}

/** A delivery in the hands of a worker. */
export interface ClaimedDelivery {
  readonly id: string;
  readonly webhookId: string;
  /** The webhook's when it was claimed: it may have another by the end of the try. */
  readonly url: string;
  readonly attempt: number;
  readonly tries: number;
  readonly maxTries: number | null;
  readonly event: StoredEvent;
  /** The newest first. */
  readonly secrets: readonly SealedSecret[];
}

/** What came of a try. */
export interface Try {
  readonly startedAt: Date;
  readonly durationMs: number;
  /** Null: there was no answer. */
  readonly statusCode: number | null;
  /** The first characters of the answer's body. */
  readonly response: string | null;
  /** Why it failed; null: it succeeded. */
  readonly error: string | null;
  /** The receiver wants no more. */
  readonly gone: boolean;
  /** How long the receiver wants to be left alone, at least; milliseconds. */
  readonly retryAfterMs: number;
}

/** What a try has changed, besides the delivery. */
export interface Finished {
  /** Null: another worker has taken the delivery over. */
  readonly status: "pending" | "succeeded" | "failed" | null;
  /** Why the webhook gets nothing any more; null: it does. */
  readonly disabled: DisabledReason | null;
}

export interface OutboxOptions {
  /** Names the worker in the leases. */
  readonly workerId: string;
  readonly leaseMs: number;
  /** Deliveries to one webhook at a time, of all workers together; one that fails gets one at a time. */
  readonly perWebhook: number;
  readonly policy: DeliveryPolicy;
}

/**
 * The worker's side of deliveries. They are claimed webhook by webhook, under a lock on the webhook's row that who
 * finishes, replays or enables takes too: so the bound per webhook holds, and the order of each operation's events.
 */
export class Outbox {
  readonly #db: Database;
  readonly #options: OutboxOptions;

  constructor(db: Database, options: OutboxOptions) {
    this.#db = db;
    this.#options = options;
  }

  /** Webhooks that have deliveries due and room for them, those first that have the fewest on their way. */
  owing(exceptOrganizations: readonly string[], limit: number): Promise<OwingWebhook[]> {
    return this.#db.rows<OwingWebhook>(sql.OWING, [exceptOrganizations, this.#options.perWebhook, limit]);
  }

  /** Takes deliveries of a webhook that are due and in their turn; none where another worker is at it just now. */
  async claim(webhookId: string, limit: number): Promise<ClaimedDelivery[]> {
    const { workerId, leaseMs, perWebhook } = this.#options;
    return this.#db.transaction(async (tx) => {
      const [webhook] = await tx.rows<{ url: string; failing: boolean }>(sql.HOLD_FREE, [webhookId]);
      if (webhook === undefined) return [];
      const cap = webhook.failing ? 1 : perWebhook;
      const values = [webhookId, Math.min(limit, cap), cap, workerId, leaseMs];
      const rows = await tx.rows<sql.ClaimedRow>(sql.CLAIM, values);
      if (rows.length === 0) return [];
      const secrets = await tx.rows<SealedSecret>(sql.SECRETS, [webhookId]);
      return rows.map(({ id, attempt, tries, maxTries, eventId, ...event }) => ({
        ...{ id, webhookId, url: webhook.url, attempt, tries, maxTries, secrets },
        event: { ...event, id: eventId },
      }));
    });
  }

  /** Extends leases; those of the deliveries that are still this worker's. */
  async renew(deliveries: readonly ClaimedDelivery[]): Promise<Set<ClaimedDelivery>> {
    const { workerId, leaseMs } = this.#options;
    const ids = deliveries.map(({ id }) => id);
    const attempts = deliveries.map(({ attempt }) => attempt);
    const values = [ids, attempts, workerId, leaseMs];
    const mine = await this.#db.rows<{ id: string; attempt: number }>(sql.RENEW, values);
    const isMine = (one: ClaimedDelivery): boolean =>
      mine.some(({ id, attempt }) => id === one.id && attempt === one.attempt);
    return new Set(deliveries.filter(isMine));
  }

  /** Gives a delivery back, to be claimed by any worker; changes nothing where it was taken over. */
  async release({ id, attempt }: ClaimedDelivery): Promise<void> {
    await this.#db.run(sql.RELEASE, [id, attempt, this.#options.workerId]);
  }

  /** Records a try and what follows from it; nothing where another worker has taken the delivery over. */
  async finish(delivery: ClaimedDelivery, done: Try): Promise<Finished> {
    try {
      return await this.#db.transaction((tx) => this.#settle(tx, delivery, done));
    } catch (error) {
      if (error instanceof TakenOver) return { status: null, disabled: null };
      throw error;
    }
  }

  async #settle(tx: Sql, delivery: ClaimedDelivery, done: Try): Promise<Finished> {
    const { workerId } = this.#options;
    const { id, webhookId, attempt, event } = delivery;
    // Before the delivery, as everybody does.
    const [held] = await tx.rows<HeldWebhook>(sql.HOLD, [webhookId]);
    // It was moved meanwhile: what the receiver before says is nothing against the one of now.
    const isStale = held !== undefined && held.url !== delivery.url;
    const { status, tries, pauseMs } = isStale ? judgeStale(delivery, done) : this.#judge(delivery, done);
    const { startedAt, durationMs, statusCode, response, error } = done;
    const mine = await tx.run(sql.FINISH, [
      ...[id, attempt, workerId, status, tries, pauseMs],
      ...[startedAt, durationMs, statusCode, response, error],
    ]);
    if (mine === 0) throw new TakenOver();
    if (attempt > KEPT_ATTEMPTS) await tx.run(sql.FORGET_ATTEMPTS, [id, attempt - KEPT_ATTEMPTS]);
    if (status !== "pending" && event.operationId !== null)
      await tx.run(sql.NEXT_IN_TURN, [webhookId, event.operationId]);
    const disabled = isStale ? null : await this.#count(tx, delivery, done, held?.failures ?? 0);
    return { status, disabled };
  }

  #judge({ tries: before, maxTries }: ClaimedDelivery, { error, gone, retryAfterMs }: Try): Judgement {
    const { policy } = this.#options;
    if (error === null) return { status: "succeeded", tries: before, pauseMs: 0 };
    const tries = before + 1;
    if (gone || tries >= (maxTries ?? policy.maxTries)) return { status: "failed", tries, pauseMs: 0 };
    return { status: "pending", tries, pauseMs: Math.max(policy.delayMs(tries), retryAfterMs) };
  }

  /** Counts a try for or against the webhook, which is held; says why that disables it, if it does. */
  async #count(
    tx: Sql,
    { webhookId, event }: ClaimedDelivery,
    { error, gone }: Try,
    failures: number,
  ): Promise<DisabledReason | null> {
    if (error === null) {
      if (failures > 0) await tx.run(sql.COUNT_SUCCESS, [webhookId]);
      return null;
    }
    const failing = await countFailure(tx, webhookId, event);
    const isFailing = failing !== null && isHopeless(failing, this.#options.policy);
    const reason = gone ? "gone" : isFailing ? "failing" : null;
    if (reason === null || (await tx.run(sql.DISABLE, [webhookId, reason])) === 0) return null;
    await recordDisabled(tx, event, webhookId, reason, failing?.failures ?? 0);
    return reason;
  }
}

/** A webhook's row, held. */
interface HeldWebhook {
  readonly url: string;
  readonly failures: number;
}

/** What a try makes of its delivery. */
interface Judgement {
  readonly status: "pending" | "succeeded" | "failed";
  readonly tries: number;
  readonly pauseMs: number;
}

/** Of a try at a URL that is the webhook's no more: one that failed has cost nothing, and the next goes to the new URL. */
function judgeStale({ tries }: ClaimedDelivery, { error }: Try): Judgement {
  return { status: error === null ? "succeeded" : "pending", tries, pauseMs: 0 };
}

/** Thrown to take a transaction back. */
class TakenOver extends Error {}

interface Failing {
  readonly failures: number;
  /** Since the first of them. */
  readonly failingMs: number;
}

/** Null where it counts for nothing: a ping, with which somebody tries out whether the receiver is back. */
async function countFailure(tx: Sql, webhookId: string, { type }: StoredEvent): Promise<Failing | null> {
  if (type === PING) return null;
  return (await tx.rows<Failing>(sql.COUNT_FAILURE, [webhookId]))[0] ?? null;
}

function isHopeless({ failures, failingMs }: Failing, policy: DeliveryPolicy): boolean {
  return failures >= policy.disableAfterFailures && failingMs >= policy.disableAfterMs;
}

async function recordDisabled(
  tx: Sql,
  { organizationId }: StoredEvent,
  webhookId: string,
  reason: DisabledReason,
  failures: number,
): Promise<void> {
  const [webhook] = await tx.rows<{ projectId: string | null }>(sql.PROJECT_OF, [webhookId]);
  await auditSql(tx, system("webhooks", organizationId), {
    action: "webhook.disable",
    target: { type: "webhook", id: webhookId },
    projectId: webhook?.projectId ?? null,
    outcome: "failure",
    details: { reason, failures },
  });
}
