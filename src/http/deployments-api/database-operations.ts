import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { sayWhenToLook } from "../accepted.js";
import { decodeCursor, ID_POSITION, MAX_LIMIT, PageQuery } from "../pagination.js";
import { PreferHeader, waitAsPreferred } from "../prefer.js";
import { ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import { DatabaseOperationWire, toDatabaseOperationWire } from "./operations-wire.js";
import { DatabaseParams, idOf, OperationParams, type RouteForm, refOf } from "./references.js";
import { deploymentsFailures, linkNextPage, NextPage } from "./wire.js";

const config = { scopes: ["operation:read"] } as const;
const tags = ["databases"];

/** What was done to a database, in one of the forms of the routes. */
export const databaseOperationRoutes: FastifyPluginAsyncTypebox<{
  services: Services;
  form: RouteForm;
}> = async (app, { services, form }) => {
  const hide = !form.shown;
  const { service, history } = services.deployments;

  app.get(
    "/:id/operations",
    {
      config,
      schema: {
        hide,
        operationId: "listDatabaseOperations",
        summary: "List the operations of a database, newest first",
        description: `At most ${MAX_LIMIT}; a \`Link\` header leads to more.`,
        tags,
        params: DatabaseParams,
        querystring: Type.Object(PageQuery),
        response: {
          200: { ...Type.Array(ref(DatabaseOperationWire)), headers: NextPage },
          ...deploymentsFailures(),
        },
      },
    },
    async (request, reply) => {
      const { principal, params, query } = request;
      const { limit = MAX_LIMIT } = query;
      const { id } = await service.get(principal, refOf(params));
      const before = decodeCursor(query.cursor, ID_POSITION);
      const found = await history.list(principal, id, limit + 1, before);
      const now = Date.now();
      return linkNextPage(request.url, reply, found, limit).map((one) => toDatabaseOperationWire(one, now));
    },
  );

  app.get(
    "/:id/operations/:operationId",
    {
      config,
      schema: {
        hide,
        operationId: "getDatabaseOperation",
        summary: "Read one operation of a database",
        description:
          "Poll it until it is `finished` or `failed`; `Retry-After` says when a look is worth while. With `Prefer: wait=N` (at most 60 s) the answer comes when it has ended, or after that time.",
        tags,
        params: OperationParams,
        headers: PreferHeader,
        response: { 200: ref(DatabaseOperationWire), ...deploymentsFailures() },
      },
    },
    async (request, reply) => {
      const { principal, params } = request;
      const { id } = await service.get(principal, refOf(params));
      const found = await history.get(principal, id, idOf(params.operationId, "operation"));
      const operation = await waitAsPreferred(services, request, reply, found);
      await sayWhenToLook(services, reply, operation);
      return toDatabaseOperationWire(operation, Date.now());
    },
  );
};
