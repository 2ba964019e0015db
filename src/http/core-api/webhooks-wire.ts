import { type Static, Type } from "typebox";
import { GRACE } from "../../domain/access/limits.js";
import type { AttemptView, DeliveryDetails, DeliveryView } from "../../domain/webhooks/deliveries.js";
import { EVENT_FILTERS, MAX_URL } from "../../domain/webhooks/filter.js";
import type { WebhookView } from "../../domain/webhooks/view.js";
import { NullableTimestamp, ref, Timestamp, Uuid } from "../schemas/common.js";
import { OperationWire } from "./wire.js";

const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const Changes = {
  description: Type.Optional(Type.String({ maxLength: 500 })),
  events: Type.Optional(
    Type.Array(Type.Enum([...EVENT_FILTERS]), {
      minItems: 1,
      maxItems: EVENT_FILTERS.length,
      uniqueItems: true,
      description: "What is sent; all where nothing is said.",
    }),
  ),
  operationTypes: Type.Optional(
    Type.Array(Type.String({ pattern: "^[A-Za-z0-9*][A-Za-z0-9._:*-]{0,63}$" }), {
      maxItems: 20,
      uniqueItems: true,
      description: "Of which operations: types such as `sync`, with `*` for any characters. Empty: of all.",
    }),
  ),
};

const UrlBody = Type.String({
  minLength: 1,
  maxLength: MAX_URL,
  description: "http or https. Which addresses may be reached is decided with every try.",
});

export const CreateWebhookBody = Type.Object(
  {
    url: UrlBody,
    projectId: Type.Optional(
      nullable(
        Type.String({
          minLength: 1,
          maxLength: 200,
          description: "Id, slug or number of a project; without it the webhook hears of all projects.",
        }),
      ),
    ),
    ...Changes,
  },
  {
    additionalProperties: false,
    examples: [
      {
        url: "https://hooks.example.com/gatehouse",
        projectId: "default",
        events: ["operation.succeeded", "operation.failed"],
        operationTypes: ["sync"],
        description: "tells the on-call channel",
      },
    ],
  },
);

export const UpdateWebhookBody = Type.Object(
  { url: Type.Optional(UrlBody), ...Changes },
  { additionalProperties: false, examples: [{ events: ["operation.*"] }] },
);

export const RotateBody = Type.Union([
  Type.Object(
    {
      graceSeconds: Type.Optional(
        Type.Integer({
          ...GRACE,
          description: "How long the secret before signs too; 0: it signs no more, at once.",
        }),
      ),
    },
    { additionalProperties: false, examples: [{ graceSeconds: 3_600 }] },
  ),
  Type.Null(),
]);

const WEBHOOK_EXAMPLE = {
  id: "0199b3c5-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
  organizationId: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
  projectId: "0199b3c0-0a1b-7c2d-8e3f-405162738495",
  url: "https://hooks.example.com/gatehouse",
  description: "tells the on-call channel",
  events: ["operation.succeeded", "operation.failed"],
  operationTypes: ["sync"],
  purpose: null,
  enabled: true,
  disabledReason: null,
  disabledAt: null,
  failures: 0,
  failingSince: null,
  secrets: [
    { id: "0199b3c5-1a2c-7d4e-8f50-617283940516", createdAt: "2026-11-22T10:15:00.000Z", expiresAt: null },
  ],
  createdBy: "administrator",
  createdAt: "2026-11-22T10:15:00.000Z",
  updatedAt: "2026-11-22T10:15:00.000Z",
};

const Webhook = {
  id: Uuid,
  organizationId: Uuid,
  projectId: nullable(Uuid),
  url: Type.String(),
  description: Type.String(),
  events: Type.Array(Type.String()),
  operationTypes: Type.Array(Type.String()),
  purpose: nullable(Type.Enum(["alert"], { description: "`alert`: made by the project's settings." })),
  enabled: Type.Boolean(),
  disabledReason: nullable(
    Type.Enum(["request", "gone", "failing"], {
      description: "Somebody asked; the receiver answered 410; nothing got through for a day and more.",
    }),
  ),
  disabledAt: NullableTimestamp,
  failures: Type.Integer({ description: "Failed tries since the last good one." }),
  failingSince: NullableTimestamp,
  secrets: Type.Array(Type.Object({ id: Uuid, createdAt: Timestamp, expiresAt: NullableTimestamp })),
  createdBy: Type.String(),
  createdAt: Timestamp,
  updatedAt: Timestamp,
};

export const WebhookWire = Type.Object(Webhook, { $id: "Webhook", examples: [WEBHOOK_EXAMPLE] });

export const CreatedWebhookWire = Type.Object(
  {
    ...Webhook,
    secret: Type.String({ description: "Shown this once: what receivers check signatures with." }),
  },
  {
    $id: "CreatedWebhook",
    examples: [{ ...WEBHOOK_EXAMPLE, secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw0123456789A=" }],
  },
);

export function toWebhookWire(webhook: WebhookView): Static<typeof WebhookWire> {
  const { id, organizationId, projectId, url, description, disabledReason, failures, createdBy } = webhook;
  return {
    ...{ id, organizationId, projectId, url, description, disabledReason, failures, createdBy },
    events: [...webhook.events],
    operationTypes: [...webhook.operationTypes],
    purpose: webhook.purpose === "alert" ? "alert" : null,
    enabled: webhook.disabledAt === null,
    disabledAt: webhook.disabledAt?.toISOString() ?? null,
    failingSince: webhook.failingSince?.toISOString() ?? null,
    secrets: webhook.secrets.map((secret) => ({
      id: secret.id,
      createdAt: secret.createdAt.toISOString(),
      expiresAt: secret.expiresAt?.toISOString() ?? null,
    })),
    createdAt: webhook.createdAt.toISOString(),
    updatedAt: webhook.updatedAt.toISOString(),
  };
}

export const WebhookMessageWire = Type.Object(
  {
    id: Type.String({ description: "The same with every try, and in `webhook-id`." }),
    type: Type.String({ examples: ["operation.failed"] }),
    timestamp: Timestamp,
    organizationId: Uuid,
    projectId: nullable(Uuid),
    data: Type.Union([ref(OperationWire), Type.Object({ webhookId: Uuid })], {
      description: "The operation as it was then; of a ping, the webhook's id.",
    }),
    truncated: Type.Optional(
      Type.Boolean({
        description:
          "It was too large to be sent whole: read the operation for its result and steps, and for its error and the message of its progress where these are empty too.",
      }),
    ),
  },
  { $id: "WebhookMessage" },
);

const AttemptWire = Type.Object({
  number: Type.Integer(),
  startedAt: Timestamp,
  durationMs: Type.Integer(),
  statusCode: nullable(Type.Integer()),
  response: nullable(Type.String({ description: "The first 1,000 characters of the answer." })),
  error: nullable(Type.String({ description: "Null: it succeeded." })),
});

const ATTEMPT_EXAMPLE = {
  number: 1,
  startedAt: "2026-11-22T10:15:31.000Z",
  durationMs: 84,
  statusCode: 200,
  response: "ok",
  error: null,
};

const DELIVERY_EXAMPLE = {
  id: "0199b3c5-2b3c-7d4e-8f5a-6b7c8d9e0f10",
  webhookId: WEBHOOK_EXAMPLE.id,
  eventId: "0199b3c5-2b3c-7a01-9c3d-4e5f60718293",
  eventType: "webhook.ping",
  operationId: null,
  status: "succeeded",
  tries: 0,
  nextAttemptAt: null,
  createdAt: "2026-11-22T10:15:30.900Z",
  finishedAt: "2026-11-22T10:15:31.084Z",
  lastAttempt: ATTEMPT_EXAMPLE,
};

const Delivery = {
  id: Uuid,
  webhookId: Uuid,
  eventId: Uuid,
  eventType: Type.String(),
  operationId: nullable(Uuid),
  status: Type.Enum(["pending", "succeeded", "failed"]),
  tries: Type.Integer({ description: "Failed tries since it was last asked for." }),
  nextAttemptAt: NullableTimestamp,
  createdAt: Timestamp,
  finishedAt: NullableTimestamp,
  lastAttempt: nullable(AttemptWire),
};

export const DeliveryWire = Type.Object(Delivery, { $id: "WebhookDelivery", examples: [DELIVERY_EXAMPLE] });

export const DeliveryDetailsWire = Type.Object(
  {
    ...Delivery,
    message: ref(WebhookMessageWire),
    attempts: Type.Array(AttemptWire, { description: "The latest 50, the newest first." }),
  },
  {
    $id: "WebhookDeliveryDetails",
    examples: [
      {
        ...DELIVERY_EXAMPLE,
        message: {
          id: DELIVERY_EXAMPLE.eventId,
          type: "webhook.ping",
          timestamp: DELIVERY_EXAMPLE.createdAt,
          organizationId: WEBHOOK_EXAMPLE.organizationId,
          projectId: WEBHOOK_EXAMPLE.projectId,
          data: { webhookId: WEBHOOK_EXAMPLE.id },
        },
        attempts: [ATTEMPT_EXAMPLE],
      },
    ],
  },
);

function toAttemptWire({ number, startedAt, durationMs, statusCode, response, error }: AttemptView) {
  return { number, startedAt: startedAt.toISOString(), durationMs, statusCode, response, error };
}

export function toDeliveryWire(delivery: DeliveryView): Static<typeof DeliveryWire> {
  const { id, webhookId, eventId, eventType, operationId, status, tries, lastAttempt } = delivery;
  return {
    ...{ id, webhookId, eventId, eventType, operationId, status, tries },
    nextAttemptAt: delivery.nextAttemptAt?.toISOString() ?? null,
    createdAt: delivery.createdAt.toISOString(),
    finishedAt: delivery.finishedAt?.toISOString() ?? null,
    lastAttempt: lastAttempt === null ? null : toAttemptWire(lastAttempt),
  };
}

export function toDeliveryDetailsWire(delivery: DeliveryDetails): Static<typeof DeliveryDetailsWire> {
  return {
    ...toDeliveryWire(delivery),
    message: delivery.message as Static<typeof WebhookMessageWire>,
    attempts: delivery.attempts.map(toAttemptWire),
  };
}
