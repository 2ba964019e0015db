import type { Principal } from "../../auth/principal.js";
import { notFound } from "../../platform/errors.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";
import type { Project } from "../projects/projects.js";
import { deleteWebhook, enableWebhook, requireReader, updateWebhook } from "./changes.js";
import { findWebhook, lockWebhook, type WebhookView } from "./view.js";
import type { Webhooks } from "./webhooks.js";

/** What an alert tells of: syncs that failed. */
const ALERT = {
  purpose: "alert",
  description: "alerts of failed syncs, from the project's settings",
  events: ["operation.failed"],
  operationTypes: ["sync"],
} as const;

export interface Alert {
  /** Null: the project has none. */
  readonly webhook: WebhookView | null;
  /** Of a webhook that was just made. */
  readonly secret: string | null;
}

export interface AlertDeps {
  readonly prisma: PrismaClient;
  readonly webhooks: Webhooks;
  /** Called when there may be something to deliver. */
  readonly due: () => void;
}

/** A project's alert webhook: one like any other, but that the project's settings make, move and remove it. */
export class Alerts {
  readonly #deps: AlertDeps;

  constructor(deps: AlertDeps) {
    this.#deps = deps;
  }

  async get(principal: Principal, project: Project): Promise<Alert> {
    return { webhook: await find(this.#deps.prisma, principal, project), secret: null };
  }

  /** Sends alerts to a URL from now on, whether they were disabled or not; null: to nobody. */
  async set(principal: Principal, project: Project, url: string | null): Promise<Alert> {
    requireReader(principal);
    const alert = await this.#deps.prisma.$transaction(async (tx) => {
      await lockSettings(tx, project);
      const found = await find(tx, principal, project);
      if (found !== null) return change(tx, principal, await lockWebhook(tx, principal, found.id), url);
      if (url === null) return { webhook: null, secret: null };
      return this.#deps.webhooks.createIn(tx, principal, { ...ALERT, url, projectId: project.id });
    });
    this.#deps.due();
    return alert;
  }
}

async function change(
  tx: PrismaTransaction,
  principal: Principal,
  webhook: WebhookView,
  url: string | null,
): Promise<Alert> {
  if (url === null) {
    await deleteWebhook(tx, principal, webhook);
    return { webhook: null, secret: null };
  }
  const moved = url === webhook.url ? webhook : await updateWebhook(tx, principal, webhook, { url });
  return { webhook: await enableWebhook(tx, principal, moved), secret: null };
}

async function find(
  tx: PrismaTransaction,
  principal: Principal,
  { id }: Project,
): Promise<WebhookView | null> {
  const where = { projectId: id, purpose: ALERT.purpose, deletedAt: null };
  const row = await tx.webhook.findFirst({ where, select: { id: true } });
  return row === null ? null : findWebhook(tx, principal, row.id);
}

/** One change of a project's settings at a time. */
async function lockSettings(tx: PrismaTransaction, { id }: Project): Promise<void> {
  const held = await tx.$queryRaw<object[]>`
    SELECT 1 FROM projects WHERE id = ${id}::uuid AND deleted_at IS NULL FOR NO KEY UPDATE`;
  if (held.length === 0) throw notFound("project");
}
