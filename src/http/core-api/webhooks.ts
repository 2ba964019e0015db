import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { GRACE } from "../../domain/access/limits.js";
import type { WebhookWithSecret } from "../../domain/webhooks/webhooks.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { problems, ref, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import {
  CreatedWebhookWire,
  CreateWebhookBody,
  RotateBody,
  toWebhookWire,
  UpdateWebhookBody,
  WebhookWire,
} from "./webhooks-wire.js";

export const WebhookParams = Type.Object({ id: Uuid });

const tags = ["webhooks"];
const read = { scopes: ["webhook:read"] } as const;
const write = { scopes: ["webhook:write"] } as const;

const toCreatedWire = ({ webhook, secret }: WebhookWithSecret) => ({ ...toWebhookWire(webhook), secret });

/** Webhooks; what is sent to them stands in `webhooks-deliveries.ts`. */
export const webhookRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  const { webhooks } = services;

  app.post(
    "/webhooks",
    {
      config: write,
      schema: {
        operationId: "createWebhook",
        summary: "Create a webhook",
        description:
          "The secret is shown once. Who is limited to projects makes webhooks of these; reading operations is required too, since webhooks tell of them.",
        tags,
        body: CreateWebhookBody,
        response: { 201: ref(CreatedWebhookWire), ...problems(409) },
      },
    },
    async ({ principal, body }, reply) => {
      const created = await webhooks.create(principal, body);
      const location = `/api/v1/webhooks/${created.webhook.id}`;
      reply.code(201).header("location", location).header("cache-control", "no-store");
      return toCreatedWire(created);
    },
  );

  app.get(
    "/webhooks",
    {
      config: read,
      schema: {
        operationId: "listWebhooks",
        summary: "List webhooks",
        description: "A caller that is limited to projects sees those of its projects.",
        tags,
        querystring: Type.Object({
          ...PageQuery,
          project: Type.Optional(
            Type.String({ maxLength: 200, description: "Only those of this project: id, slug or number." }),
          ),
        }),
        response: {
          200: Type.Object({
            items: Type.Array(ref(WebhookWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, query }) => {
      const { limit = DEFAULT_LIMIT, cursor, project = null } = query;
      const after = decodeCursor(cursor, ID_POSITION);
      const found = await webhooks.list(principal, { project }, limit + 1, after);
      const { items, nextCursor } = page(found, limit, ({ id }) => id);
      return { items: items.map(toWebhookWire), nextCursor };
    },
  );

  app.get(
    "/webhooks/:id",
    {
      config: read,
      schema: {
        operationId: "getWebhook",
        summary: "Read one webhook",
        tags,
        params: WebhookParams,
        response: { 200: ref(WebhookWire), ...problems() },
      },
    },
    async ({ principal, params }) => toWebhookWire(await webhooks.get(principal, params.id)),
  );

  app.patch(
    "/webhooks/:id",
    {
      config: write,
      schema: {
        operationId: "updateWebhook",
        summary: "Change a webhook",
        description: "Changes what is given. What waits to be sent goes to a new URL, at once.",
        tags,
        params: WebhookParams,
        body: UpdateWebhookBody,
        response: { 200: ref(WebhookWire), ...problems() },
      },
    },
    async ({ principal, params, body }) => toWebhookWire(await webhooks.update(principal, params.id, body)),
  );

  app.delete(
    "/webhooks/:id",
    {
      config: write,
      schema: {
        operationId: "deleteWebhook",
        summary: "Delete a webhook",
        description: "For good, with its secrets and deliveries.",
        tags,
        params: WebhookParams,
        response: { 204: Type.Null({ description: "Deleted." }), ...problems() },
      },
    },
    async ({ principal, params }, reply) => {
      await webhooks.delete(principal, params.id);
      return reply.code(204).send(null);
    },
  );

  for (const action of ["disable", "enable"] as const) {
    app.post(
      `/webhooks/:id/${action}`,
      {
        config: write,
        schema: {
          operationId: `${action}Webhook`,
          summary: action === "disable" ? "Disable a webhook" : "Enable a webhook again",
          description:
            action === "disable"
              ? "Nothing is sent, and what happens meanwhile never will be; what waits, waits. Repeating it changes nothing."
              : "What waits is sent at once. Repeating it changes nothing.",
          tags,
          params: WebhookParams,
          response: { 200: ref(WebhookWire), ...problems() },
        },
      },
      async ({ principal, params }) => toWebhookWire(await webhooks[action](principal, params.id)),
    );
  }

  app.post(
    "/webhooks/:id/secrets",
    {
      config: write,
      schema: {
        operationId: "rotateWebhookSecret",
        summary: "Replace the secret of a webhook",
        description:
          "The new secret is shown once. The one before signs too, for a time of grace: each message carries both signatures.",
        tags,
        params: WebhookParams,
        body: RotateBody,
        response: { 201: ref(CreatedWebhookWire), ...problems(409) },
      },
    },
    async ({ principal, params, body }, reply) => {
      const graceSeconds = body?.graceSeconds ?? GRACE.default;
      reply.code(201).header("cache-control", "no-store");
      return toCreatedWire(await webhooks.rotateSecret(principal, params.id, graceSeconds));
    },
  );
};
