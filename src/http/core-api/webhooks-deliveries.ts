import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { DEFAULT_LIMIT, decodeCursor, PageQuery, page } from "../pagination.js";
import { problems, ref, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { WebhookParams } from "./webhooks.js";
import { DeliveryDetailsWire, DeliveryWire, toDeliveryDetailsWire, toDeliveryWire } from "./webhooks-wire.js";

const DeliveryParams = Type.Object({ ...WebhookParams.properties, did: Uuid });

const tags = ["webhooks"];
const read = { scopes: ["webhook:read"] } as const;
const write = { scopes: ["webhook:write"] } as const;

/** What was sent to webhooks, and sending it again. */
export const webhookDeliveryRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  const { deliveries } = services;

  app.post(
    "/webhooks/:id/test",
    {
      config: write,
      schema: {
        operationId: "testWebhook",
        summary: "Send a ping to a webhook",
        description:
          "One try, whatever events the webhook asked for. The answer is the delivery: read it again until it is no longer `pending`.",
        tags,
        params: WebhookParams,
        response: { 201: ref(DeliveryDetailsWire), ...problems(409) },
      },
    },
    async ({ principal, params }, reply) => {
      const delivery = await deliveries.test(principal, params.id);
      reply.code(201).header("location", `/api/v1/webhooks/${delivery.webhookId}/deliveries/${delivery.id}`);
      return toDeliveryDetailsWire(delivery);
    },
  );

  app.get(
    "/webhooks/:id/deliveries",
    {
      config: read,
      schema: {
        operationId: "listWebhookDeliveries",
        summary: "What was sent to a webhook, newest first",
        tags,
        params: WebhookParams,
        querystring: Type.Object({
          ...PageQuery,
          status: Type.Optional(Type.Enum(["pending", "succeeded", "failed"])),
          eventType: Type.Optional(Type.String({ maxLength: 100 })),
          operationId: Type.Optional(Uuid),
        }),
        response: {
          200: Type.Object({
            items: Type.Array(ref(DeliveryWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, params, query }) => {
      const { limit = DEFAULT_LIMIT, cursor, ...filter } = query;
      const position = decodeCursor(cursor, /^\d{1,18}$/);
      const before = position === null ? null : BigInt(position);
      const found = await deliveries.list(principal, params.id, filter, limit + 1, before);
      const { items, nextCursor } = page(found, limit, (delivery) => String(delivery.position));
      return { items: items.map(toDeliveryWire), nextCursor };
    },
  );

  app.get(
    "/webhooks/:id/deliveries/:did",
    {
      config: read,
      schema: {
        operationId: "getWebhookDelivery",
        summary: "One delivery: what is sent, and each try",
        description: "It holds the operation as it is sent: reading operations is required too.",
        tags,
        params: DeliveryParams,
        response: { 200: ref(DeliveryDetailsWire), ...problems() },
      },
    },
    async ({ principal, params }) =>
      toDeliveryDetailsWire(await deliveries.get(principal, params.id, params.did)),
  );

  app.post(
    "/webhooks/:id/deliveries/:did/replay",
    {
      config: write,
      schema: {
        operationId: "replayWebhookDelivery",
        summary: "Send it again",
        description:
          "The same event under the same `webhook-id`. One that is done is sent at once, outside the order of its operation's events; one that is pending, now instead of at its next try.",
        tags,
        params: DeliveryParams,
        response: { 200: ref(DeliveryDetailsWire), ...problems(409) },
      },
    },
    async ({ principal, params }) =>
      toDeliveryDetailsWire(await deliveries.replay(principal, params.id, params.did)),
  );
};
