import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { DEFAULT_LIMIT, decodeCursor, PageQuery, page } from "../pagination.js";
import { problems, Timestamp } from "../schemas/common.js";
import type { Services } from "../services.js";
import { ClientParams } from "./clients.js";

/** Milliseconds since 1970. */
const HOUR_POSITION = /^\d{1,14}$/;

/** How many tokens API clients were issued. */
export const clientTokenRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.get(
    "/clients/:id/tokens",
    {
      config: { scopes: ["client:read"] },
      schema: {
        operationId: "listIssuedTokens",
        summary: "How many tokens an API client was issued, by the hour",
        description:
          "The hours in which it got any, the latest first; written within a second. Kept as long as audit events.",
        tags: ["clients"],
        params: ClientParams,
        querystring: Type.Object(PageQuery),
        response: {
          200: Type.Object({
            items: Type.Array(Type.Object({ hour: Timestamp, count: Type.Integer() })),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, params, query: { limit = DEFAULT_LIMIT, cursor } }) => {
      const position = decodeCursor(cursor, HOUR_POSITION);
      const before = position === null ? null : new Date(Number(position));
      const counts = await services.issuedTokens.list(principal, params.id, limit + 1, before);
      const { items, nextCursor } = page(counts, limit, ({ hour }) => hour.getTime());
      return { items: items.map(({ hour, count }) => ({ hour: hour.toISOString(), count })), nextCursor };
    },
  );
};
