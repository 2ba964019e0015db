import type { Principal } from "../../auth/principal.js";
import type { Clock } from "../../platform/clock.js";
import type { MasterKey } from "../../platform/crypto.js";
import { AppError, conflict } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";
import { requireAllProjects } from "../access/authority.js";
import { holdProject } from "../projects/hold.js";
import { resolveProjects } from "../projects/reference.js";
import {
  type Changed,
  deleteWebhook,
  enableWebhook,
  recordWebhook,
  requireReader,
  summaryOf,
  updateWebhook,
  type WebhookChanges,
} from "./changes.js";
import { checkWebhookUrl } from "./filter.js";
import type { Hastening } from "./hastening.js";
import { newWebhookSecret } from "./secrets.js";
import {
  findWebhook,
  lockWebhook,
  toWebhookView,
  visibleWebhooks,
  WEBHOOK_VIEW,
  type WebhookView,
} from "./view.js";

export interface WebhookInput extends WebhookChanges {
  readonly url: string;
  /** Id, slug or number; null or absent: the whole organization. */
  readonly projectId?: string | null | undefined;
  readonly purpose?: "alert";
}

/** A webhook with the secret that was just made: the only time that it is seen. */
export interface WebhookWithSecret {
  readonly webhook: WebhookView;
  /** `whsec_...` */
  readonly secret: string;
}

export interface WebhookDeps {
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
  readonly hastening: Pick<Hastening, "hasten">;
}

/** Of one organization. */
export const MAX_WEBHOOKS = 100;

/** Which webhooks a list shows. */
export interface WebhookFilter {
  /** Id, slug or number of a project; null: whichever. */
  readonly project: string | null;
}

/** Webhooks: where events of operations are sent to. */
export class Webhooks {
  readonly #deps: WebhookDeps;

  constructor(deps: WebhookDeps) {
    this.#deps = deps;
  }

  async list(
    principal: Principal,
    { project }: WebhookFilter,
    limit: number,
    after: string | null,
  ): Promise<WebhookView[]> {
    const { prisma } = this.#deps;
    const [found] = project === null ? [] : await resolveProjects(prisma, principal, [project]);
    if (found === null) return [];
    const rows = await prisma.webhook.findMany({
      where: {
        AND: [visibleWebhooks(principal), found === undefined ? {} : { projectId: found.id }],
        ...(after === null ? {} : { id: { gt: after } }),
      },
      include: WEBHOOK_VIEW,
      orderBy: { id: "asc" },
      take: limit,
    });
    return rows.map(toWebhookView);
  }

  get(principal: Principal, id: string): Promise<WebhookView> {
    return findWebhook(this.#deps.prisma, principal, id);
  }

  create(principal: Principal, input: WebhookInput): Promise<WebhookWithSecret> {
    return this.#deps.prisma.$transaction((tx) => this.createIn(tx, principal, input));
  }

  /** The same within a transaction of the caller's. */
  async createIn(
    tx: PrismaTransaction,
    principal: Principal,
    input: WebhookInput,
  ): Promise<WebhookWithSecret> {
    requireReader(principal);
    const url = checkWebhookUrl(input.url, "/url");
    const projectId = await projectOf(tx, principal, input.projectId ?? null);
    await requireRoom(tx, principal.organizationId);
    const { secret, row } = newWebhookSecret(this.#deps.masterKey);
    const created = await tx.webhook.create({
      data: {
        ...{ id: newId(), organizationId: principal.organizationId, projectId, url },
        description: input.description ?? "",
        events: [...(input.events ?? ["*"])],
        operationTypes: [...(input.operationTypes ?? [])],
        purpose: input.purpose ?? null,
        createdBy: principal.name,
        secrets: { create: row },
      },
      include: WEBHOOK_VIEW,
    });
    const webhook = toWebhookView(created);
    await recordWebhook(tx, principal, "webhook.create", webhook, summaryOf(webhook));
    return { webhook, secret };
  }

  /** What waits for delivery goes to a new URL at once. */
  update(principal: Principal, id: string, changes: WebhookChanges): Promise<WebhookView> {
    return this.#change(principal, id, (tx, webhook) => updateWebhook(tx, principal, webhook, changes));
  }

  /** For good: nothing is sent any more, and its secrets are gone. */
  async delete(principal: Principal, id: string): Promise<void> {
    await this.#deps.prisma.$transaction(async (tx) =>
      deleteWebhook(tx, principal, await lockWebhook(tx, principal, id)),
    );
  }

  /** Nothing is sent, and nothing that happens meanwhile will be; what waits, waits. Repeating it changes nothing. */
  async disable(principal: Principal, id: string): Promise<WebhookView> {
    return this.#deps.prisma.$transaction(async (tx) => {
      const webhook = await lockWebhook(tx, principal, id);
      if (webhook.disabledAt !== null) return webhook;
      const data = { disabledAt: this.#deps.clock.now(), disabledReason: "request" };
      await tx.webhook.update({ where: { id: webhook.id }, data });
      await recordWebhook(tx, principal, "webhook.disable", webhook, { reason: "request" });
      return findWebhook(tx, principal, webhook.id);
    });
  }

  /** What waits is sent at once. Repeating it changes nothing. */
  enable(principal: Principal, id: string): Promise<WebhookView> {
    return this.#change(principal, id, (tx, webhook) => enableWebhook(tx, principal, webhook));
  }

  async #change(
    principal: Principal,
    id: string,
    work: (tx: PrismaTransaction, webhook: WebhookView) => Promise<Changed>,
  ): Promise<WebhookView> {
    requireReader(principal);
    const { prisma, hastening } = this.#deps;
    const { webhook, resumes } = await prisma.$transaction(async (tx) =>
      work(tx, await lockWebhook(tx, principal, id)),
    );
    if (resumes) await hastening.hasten(webhook.id);
    return webhook;
  }

  /**
   * Makes a new secret. The one before signs too, for a time of grace: receivers change over meanwhile. Refused while
   * two sign already, unless there is no grace.
   * @param graceSeconds 0: those before sign no more, at once
   */
  async rotateSecret(principal: Principal, id: string, graceSeconds: number): Promise<WebhookWithSecret> {
    const now = this.#deps.clock.now();
    return this.#deps.prisma.$transaction(async (tx) => {
      const { id: webhookId, secrets } = await lockWebhook(tx, principal, id);
      const live = secrets.filter(({ expiresAt }) => expiresAt === null || expiresAt > now);
      if (live.length > 1 && graceSeconds > 0) {
        throw conflict("two secrets sign already: wait until the older one has ended, or give it no grace", {
          expiresAt: live[0]?.expiresAt?.toISOString() ?? "",
        });
      }
      const kept = graceSeconds === 0 ? [] : live.map((secret) => secret.id);
      await tx.webhookSecret.deleteMany({ where: { webhookId, id: { notIn: kept } } });
      const end = new Date(now.getTime() + graceSeconds * 1_000);
      await tx.webhookSecret.updateMany({ where: { webhookId }, data: { expiresAt: end } });
      const { secret, row } = newWebhookSecret(this.#deps.masterKey);
      await tx.webhookSecret.create({ data: { ...row, webhookId } });
      const webhook = await findWebhook(tx, principal, webhookId);
      await recordWebhook(tx, principal, "webhook.secret.create", webhook, {
        secretId: row.id,
        graceSeconds,
      });
      return { webhook, secret };
    });
  }
}

/** The project that is meant, held; null: the whole organization. */
async function projectOf(
  tx: PrismaTransaction,
  principal: Principal,
  reference: string | null,
): Promise<string | null> {
  if (reference === null) {
    requireAllProjects(principal, "a webhook of the whole organization");
    return null;
  }
  const [project] = await resolveProjects(tx, principal, [reference]);
  if (project === null || project === undefined) {
    const message = `"${reference}" is no project that you reach`;
    throw new AppError(
      principal.projects === "all" ? "invalid_request" : "forbidden",
      `/projectId ${message}`,
      {
        errors: [{ path: "/projectId", message }],
      },
    );
  }
  await holdProject(tx, project.id);
  return project.id;
}

async function requireRoom(tx: PrismaTransaction, organizationId: string): Promise<void> {
  // Who makes one at the same time waits, and counts it.
  await tx.$queryRaw`SELECT 1 FROM organizations WHERE id = ${organizationId}::uuid FOR NO KEY UPDATE`;
  const count = await tx.webhook.count({ where: { organizationId, deletedAt: null } });
  if (count >= MAX_WEBHOOKS)
    throw conflict(`the organization has ${count} webhooks, as many as it may: delete one`);
}
