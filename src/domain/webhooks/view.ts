import type { Principal } from "../../auth/principal.js";
import { notFound } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import type { PrismaTransaction } from "../../platform/prisma.js";

/** Why a webhook gets nothing: it was asked for, the receiver answered 410, or nothing got through for long. */
export type DisabledReason = "request" | "gone" | "failing";

/** A secret without what makes it one. */
export interface WebhookSecretView {
  readonly id: string;
  readonly createdAt: Date;
  /** Null: until it is replaced. */
  readonly expiresAt: Date | null;
}

/** Where events of operations are sent to. */
export interface WebhookView {
  readonly id: string;
  readonly organizationId: string;
  /** Null: the whole organization. */
  readonly projectId: string | null;
  readonly url: string;
  readonly description: string;
  readonly events: readonly string[];
  /** Empty: all. */
  readonly operationTypes: readonly string[];
  /** `alert`: the one that the project's settings made. */
  readonly purpose: string | null;
  readonly disabledAt: Date | null;
  readonly disabledReason: DisabledReason | null;
  /** Tries that failed since the last one that succeeded, and since when. */
  readonly failures: number;
  readonly failingSince: Date | null;
  readonly secrets: readonly WebhookSecretView[];
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What belongs to a view. */
export const WEBHOOK_VIEW = {
  secrets: { select: { id: true, createdAt: true, expiresAt: true }, orderBy: { id: "asc" } },
} as const;

interface Row extends Omit<WebhookView, "disabledReason"> {
  readonly disabledReason: string | null;
}

export function toWebhookView(row: Row): WebhookView {
  return { ...row, disabledReason: row.disabledReason as DisabledReason | null };
}

/** The webhooks that a principal sees: those of the whole organization only where it reaches all projects. */
export function visibleWebhooks({ organizationId, projects }: Principal) {
  const visible = { organizationId, deletedAt: null };
  return projects === "all" ? visible : { ...visible, projectId: { in: [...projects] } };
}

/** One webhook that the principal sees; throws "not found" for all others. */
export async function findWebhook(
  tx: PrismaTransaction,
  principal: Principal,
  id: string,
): Promise<WebhookView> {
  const parsed = parseId(id);
  if (parsed === null) throw notFound("webhook");
  const where = { ...visibleWebhooks(principal), id: parsed };
  const row = await tx.webhook.findFirst({ where, include: WEBHOOK_VIEW });
  if (row === null) throw notFound("webhook");
  return toWebhookView(row);
}

/** The webhook as it stays until the end of the transaction. Whoever changes it or its deliveries locks it first. */
export async function lockWebhook(
  tx: PrismaTransaction,
  principal: Principal,
  id: string,
): Promise<WebhookView> {
  const found = await findWebhook(tx, principal, id);
  // Weaker than FOR UPDATE: operations that put events into the outbox do not wait.
  await tx.$queryRaw`SELECT 1 FROM webhooks WHERE id = ${found.id}::uuid FOR NO KEY UPDATE`;
  return findWebhook(tx, principal, found.id);
}
