import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import type { AuditEventView } from "../../domain/audit/events.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { problems, ref, Timestamp, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";

const nullableText = Type.Union([Type.String(), Type.Null()]);

export const AuditEventWire = Type.Object(
  {
    id: Uuid,
    time: Timestamp,
    projectId: nullableText,
    actor: Type.Object({ kind: Type.String(), id: nullableText, name: nullableText }),
    action: Type.String({ examples: ["client.create"] }),
    target: Type.Union([Type.Object({ type: Type.String(), id: nullableText }), Type.Null()]),
    outcome: Type.Enum(["success", "failure", "denied"]),
    address: nullableText,
    requestId: nullableText,
    details: Type.Unknown(),
  },
  { $id: "AuditEvent" },
);
type AuditEventWire = Static<typeof AuditEventWire>;

function toWire(event: AuditEventView): AuditEventWire {
  const { id, projectId, action, outcome, address, requestId, details } = event;
  return {
    id,
    time: event.time.toISOString(),
    projectId,
    actor: { kind: event.actorKind, id: event.actorId, name: event.actorName },
    action,
    target: event.targetType === null ? null : { type: event.targetType, id: event.targetId },
    outcome: outcome as AuditEventWire["outcome"],
    address,
    requestId,
    details,
  };
}

const Filter = {
  action: Type.Optional(Type.String({ maxLength: 100 })),
  actorId: Type.Optional(Type.String({ maxLength: 100 })),
  targetType: Type.Optional(Type.String({ maxLength: 100 })),
  targetId: Type.Optional(Type.String({ maxLength: 100 })),
  outcome: Type.Optional(Type.Enum(["success", "failure", "denied"])),
  since: Type.Optional(Timestamp),
  until: Type.Optional(Timestamp),
  installation: Type.Optional(
    Type.Boolean({
      description:
        "The events of no organization instead: credentials that are nobody's, changes of keys. Needs " +
        "`platform:admin`.",
    }),
  ),
};

/** Who did what. */
export const auditEventRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.get(
    "/audit-events",
    {
      config: { scopes: ["auditEvent:read"] },
      schema: {
        operationId: "listAuditEvents",
        summary: "Who did what to what, newest first",
        tags: ["access"],
        querystring: Type.Object({ ...PageQuery, ...Filter }),
        response: {
          200: Type.Object({
            items: Type.Array(ref(AuditEventWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, query }) => {
      const { limit = DEFAULT_LIMIT, cursor, since, until, installation = false, ...equal } = query;
      const before = decodeCursor(cursor, ID_POSITION);
      const filter = {
        ...equal,
        ...(since === undefined ? {} : { since: new Date(since) }),
        ...(until === undefined ? {} : { until: new Date(until) }),
      };
      const { auditEvents } = services;
      const events = installation
        ? await auditEvents.listOfInstallation(principal, filter, limit + 1, before)
        : await auditEvents.list(principal, filter, limit + 1, before);
      const { items, nextCursor } = page(events, limit, ({ id }) => id);
      return { items: items.map(toWire), nextCursor };
    },
  );
};
