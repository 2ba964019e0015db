import type { Principal } from "../../auth/principal.js";
import type { PrismaTransaction } from "../../platform/prisma.js";
import { requireGrant } from "../access/authority.js";
import { audit } from "../audit/audit.js";
import { checkWebhookUrl } from "./filter.js";
import { findWebhook, toWebhookView, WEBHOOK_VIEW, type WebhookView } from "./view.js";

/** What may be changed of a webhook. */
export interface WebhookChanges {
  readonly url?: string | undefined;
  readonly description?: string | undefined;
  readonly events?: readonly string[] | undefined;
  readonly operationTypes?: readonly string[] | undefined;
}

/** A webhook after a change. */
export interface Changed {
  readonly webhook: WebhookView;
  /** What waits for its next try is to go now: by `Hastening`, when the change is committed. */
  readonly resumes: boolean;
}

/** A webhook tells of operations: who may not read them may not have them sent. */
export function requireReader(principal: Principal): void {
  requireGrant(principal, { scopes: new Set(["operation:read"]), projects: principal.projects }, "a webhook");
}

/** Changes what is given, within the transaction that holds the webhook. */
export async function updateWebhook(
  tx: PrismaTransaction,
  principal: Principal,
  before: WebhookView,
  changes: WebhookChanges,
): Promise<Changed> {
  const url = changes.url === undefined ? before.url : checkWebhookUrl(changes.url, "/url");
  const row = await tx.webhook.update({
    where: { id: before.id },
    data: {
      url,
      description: changes.description ?? before.description,
      events: [...(changes.events ?? before.events)],
      operationTypes: [...(changes.operationTypes ?? before.operationTypes)],
    },
    include: WEBHOOK_VIEW,
  });
  const after = toWebhookView(row);
  await recordWebhook(tx, principal, "webhook.update", after, summaryOf(after));
  return url === before.url ? { webhook: after, resumes: false } : resume(tx, principal, after);
}

/** Sends again, within the transaction that holds the webhook. */
export async function enableWebhook(
  tx: PrismaTransaction,
  principal: Principal,
  webhook: WebhookView,
): Promise<Changed> {
  if (webhook.disabledAt === null) return { webhook, resumes: false };
  await tx.webhook.update({ where: { id: webhook.id }, data: { disabledAt: null, disabledReason: null } });
  await recordWebhook(tx, principal, "webhook.enable", webhook, { reason: webhook.disabledReason });
  return resume(tx, principal, webhook);
}

/** Removes a webhook that the transaction holds. */
export async function deleteWebhook(
  tx: PrismaTransaction,
  principal: Principal,
  webhook: WebhookView,
): Promise<void> {
  const { id } = webhook;
  await tx.webhook.update({ where: { id }, data: { deletedAt: new Date() } });
  await tx.webhookSecret.deleteMany({ where: { webhookId: id } });
  await recordWebhook(tx, principal, "webhook.delete", webhook, summaryOf(webhook));
}

/** Forgets that it failed. */
async function resume(tx: PrismaTransaction, principal: Principal, { id }: WebhookView): Promise<Changed> {
  await tx.webhook.update({ where: { id }, data: { failures: 0, failingSince: null } });
  return { webhook: await findWebhook(tx, principal, id), resumes: true };
}

/** Without the path and the query, which may be secret. */
export function summaryOf({ url, events, operationTypes }: WebhookView) {
  return { origin: new URL(url).origin, events, operationTypes };
}

export function recordWebhook(
  tx: PrismaTransaction,
  principal: Principal,
  action: string,
  { id, projectId }: WebhookView,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  return audit(tx, principal, { action, target: { type: "webhook", id }, projectId, details });
}
