import type { Principal } from "../../auth/principal.js";
import { notFound } from "../../platform/errors.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";
import type { Project } from "../projects/projects.js";
import { deleteWebhook, enableWebhook, requireReader, updateWebhook } from "./changes.js";
import type { Hastening } from "./hastening.js";
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
  readonly hastening: Pick<Hastening, "hasten">;
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
    const { prisma, webhooks, hastening } = this.#deps;
    const { resumes, ...alert } = await prisma.$transaction(async (tx) => {
      await lockSettings(tx, project);
      const found = await find(tx, principal, project);
      if (found !== null) return change(tx, principal, await lockWebhook(tx, principal, found.id), url);
      if (url === null) return NONE;
      const made = await webhooks.createIn(tx, principal, { ...ALERT, url, projectId: project.id });
      return { ...made, resumes: false };
    });
    if (resumes && alert.webhook !== null) await hastening.hasten(alert.webhook.id);
    return alert;
  }
}

/** An alert after a change of it, and whether what waits for it is to go now. */
type Changed = Alert & { readonly resumes: boolean };

const NONE: Changed = { webhook: null, secret: null, resumes: false };

async function change(
  tx: PrismaTransaction,
  principal: Principal,
  before: WebhookView,
  url: string | null,
): Promise<Changed> {
  if (url === null) {
    await deleteWebhook(tx, principal, before);
    return NONE;
  }
  const unmoved = { webhook: before, resumes: false };
  const moved = url === before.url ? unmoved : await updateWebhook(tx, principal, before, { url });
  const { webhook, resumes } = await enableWebhook(tx, principal, moved.webhook);
  return { webhook, secret: null, resumes: moved.resumes || resumes };
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
