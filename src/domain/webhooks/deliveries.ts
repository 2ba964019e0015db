import type { Principal } from "../../auth/principal.js";
import { conflict, notFound } from "../../platform/errors.js";
import { newId, parseId } from "../../platform/ids.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";
import { recordWebhook, requireReader } from "./changes.js";
import { PING } from "./filter.js";
import { toMessage, type WebhookMessage } from "./message.js";
import { findWebhook, lockWebhook, type WebhookView } from "./view.js";

export type DeliveryStatus = "pending" | "succeeded" | "failed";

/** One try at a delivery. */
export interface AttemptView {
  readonly number: number;
  readonly startedAt: Date;
  readonly durationMs: number;
  /** Null: there was no answer. */
  readonly statusCode: number | null;
  /** The first characters of the answer's body. */
  readonly response: string | null;
  /** Null: it succeeded. */
  readonly error: string | null;
}

/** An event on its way to a webhook. */
export interface DeliveryView {
  readonly id: string;
  /** Grows with every delivery. */
  readonly position: bigint;
  readonly webhookId: string;
  readonly eventId: string;
  readonly eventType: string;
  /** Null: the event is of no operation. */
  readonly operationId: string | null;
  readonly status: DeliveryStatus;
  /** Tries that failed since it was last asked for. */
  readonly tries: number;
  /** Null: it is done. */
  readonly nextAttemptAt: Date | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
  /** Null: not tried yet. */
  readonly lastAttempt: AttemptView | null;
}

/** With what is sent, and the latest tries, the newest first. */
export interface DeliveryDetails extends DeliveryView {
  readonly message: WebhookMessage;
  readonly attempts: readonly AttemptView[];
}

export interface DeliveryFilter {
  readonly status?: DeliveryStatus | undefined;
  readonly eventType?: string | undefined;
  readonly operationId?: string | undefined;
}

/** Tries that are kept, and shown, of one delivery. */
export const KEPT_ATTEMPTS = 50;

const latest = (take: number) => ({ attempts: { orderBy: { number: "desc" }, take } }) as const;

export interface DeliveriesDeps {
  readonly prisma: PrismaClient;
  /** Called when there is something to deliver. */
  readonly due: () => void;
}

/** What was sent to webhooks, what came of it, and sending it again. */
export class Deliveries {
  readonly #deps: DeliveriesDeps;

  constructor(deps: DeliveriesDeps) {
    this.#deps = deps;
  }

  /** Of one webhook, newest first, beyond the position `before`. */
  async list(
    principal: Principal,
    webhookId: string,
    { status, eventType, operationId }: DeliveryFilter,
    limit: number,
    before: bigint | null,
  ): Promise<DeliveryView[]> {
    const { prisma } = this.#deps;
    const webhook = await findWebhook(prisma, principal, webhookId);
    const operation = operationId === undefined ? undefined : parseId(operationId);
    if (operation === null) return [];
    const rows = await prisma.webhookDelivery.findMany({
      where: {
        webhookId: webhook.id,
        ...(status === undefined ? {} : { status }),
        ...(eventType === undefined ? {} : { eventType }),
        ...(operation === undefined ? {} : { operationId: operation }),
        ...(before === null ? {} : { position: { lt: before } }),
      },
      include: latest(1),
      orderBy: { position: "desc" },
      take: limit,
    });
    return rows.map(toDeliveryView);
  }

  /** Holds what is sent, so it is for those alone who may read operations. */
  async get(principal: Principal, webhookId: string, id: string): Promise<DeliveryDetails> {
    requireReader(principal);
    const { prisma } = this.#deps;
    const webhook = await findWebhook(prisma, principal, webhookId);
    return detailsOf(prisma, webhook, id);
  }

  /**
   * Sends an event again, under the same id: one that is done whenever it can be, whatever else is on its way; one
   * that is pending now, in its turn.
   */
  async replay(principal: Principal, webhookId: string, id: string): Promise<DeliveryDetails> {
    requireReader(principal);
    return this.#send(principal, webhookId, async (tx, webhook) => {
      const { id: deliveryId, eventId, status } = await detailsOf(tx, webhook, id);
      // Nobody else changes deliveries of a webhook that is held; but retention removes them.
      const again = { status: "pending", ordered: false, tries: 0, finishedAt: null };
      const where = { id: deliveryId };
      if (status !== "pending") await tx.webhookDelivery.updateMany({ where, data: again });
      if (!(await putFirst(tx, webhook, deliveryId))) throw notFound("delivery");
      await recordWebhook(tx, principal, "webhook.replay", webhook, { deliveryId, eventId });
      return deliveryId;
    });
  }

  /** Sends a ping: one try, whatever the webhook asked for. */
  async test(principal: Principal, webhookId: string): Promise<DeliveryDetails> {
    return this.#send(principal, webhookId, async (tx, webhook) => {
      const { organizationId, projectId } = webhook;
      const [eventId, deliveryId] = [newId(), newId()];
      const data = { webhookId: webhook.id };
      await tx.webhookEvent.create({
        data: { id: eventId, organizationId, projectId, type: PING, data, occurredAt: new Date() },
      });
      const delivery = { id: deliveryId, organizationId, webhookId: webhook.id, eventId, eventType: PING };
      await tx.webhookDelivery.create({ data: { ...delivery, ordered: false, maxTries: 1 } });
      await putFirst(tx, webhook, deliveryId);
      await recordWebhook(tx, principal, "webhook.test", webhook, { deliveryId });
      return deliveryId;
    });
  }

  async #send(
    principal: Principal,
    webhookId: string,
    work: (tx: PrismaTransaction, webhook: WebhookView) => Promise<string>,
  ): Promise<DeliveryDetails> {
    const delivery = await this.#deps.prisma.$transaction(async (tx) => {
      const webhook = await lockWebhook(tx, principal, webhookId);
      if (webhook.disabledAt !== null) throw conflict("the webhook is disabled: enable it first");
      return detailsOf(tx, webhook, await work(tx, webhook));
    });
    this.#deps.due();
    return delivery;
  }
}

/** Somebody waits to see what becomes of it: it goes before all that the webhook has waiting. False: it is gone. */
async function putFirst(tx: PrismaTransaction, { id }: WebhookView, deliveryId: string): Promise<boolean> {
  // Several that are put first go in their order, unless they had an order before.
  const changed = await tx.$executeRaw`
    UPDATE webhook_deliveries SET next_attempt_at = least(clock_timestamp(), (
      SELECT d.next_attempt_at - interval '1 millisecond' FROM webhook_deliveries d
      WHERE d.webhook_id = ${id}::uuid AND d.status = 'pending' AND d.ordered AND d.id <> ${deliveryId}::uuid
      ORDER BY d.next_attempt_at LIMIT 1))
    WHERE id = ${deliveryId}::uuid`;
  return changed > 0;
}

async function detailsOf(tx: PrismaTransaction, webhook: WebhookView, id: string): Promise<DeliveryDetails> {
  const parsed = parseId(id);
  if (parsed === null) throw notFound("delivery");
  const row = await tx.webhookDelivery.findFirst({
    where: { id: parsed, webhookId: webhook.id },
    include: { ...latest(KEPT_ATTEMPTS), event: true },
  });
  if (row === null) throw notFound("delivery");
  return { ...toDeliveryView(row), message: toMessage(row.event), attempts: row.attempts };
}

interface Row extends Omit<DeliveryView, "status" | "lastAttempt"> {
  readonly status: string;
  readonly attempts: readonly AttemptView[];
}

function toDeliveryView(row: Row): DeliveryView {
  const status = row.status as DeliveryStatus;
  return {
    ...row,
    status,
    nextAttemptAt: status === "pending" ? row.nextAttemptAt : null,
    lastAttempt: row.attempts[0] ?? null,
  };
}
