import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { projectFilter } from "../../auth/principal.js";
import { invalid, notFound } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import { sayWhenToLook } from "../accepted.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { PreferHeader, waitAsPreferred } from "../prefer.js";
import { problems, ref, Timestamp, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { operationIdOf } from "./operations-commands.js";
import { OperationWire, toOperationWire } from "./wire.js";

const STATUS_FILTER = Type.Enum(["pending", "running", "cancelling", "succeeded", "failed", "cancelled"]);

function idFilter(text: string | undefined, name: string): string | null {
  if (text === undefined) return null;
  const id = parseId(text);
  if (id === null)
    throw invalid(`${name} must be a UUID`, [{ path: `/query/${name}`, message: "must be a UUID" }]);
  return id;
}

/** Reading operations; what starts them stands with the resources. */
export const operationRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.get(
    "/operations/:id",
    {
      config: { scopes: ["operation:read"] },
      schema: {
        operationId: "getOperation",
        summary: "Read one operation",
        description:
          "Poll it until `done`; `Retry-After` says when a look is worth while. With `Prefer: wait=N` (at most 60 s) the answer comes when it is done, or after that time with its present state.",
        tags: ["operations"],
        params: Type.Object({ id: Uuid }),
        headers: Type.Object(PreferHeader),
        response: { 200: ref(OperationWire), ...problems() },
      },
    },
    async (request, reply) => {
      const { principal, params } = request;
      const seenBy = { organizationId: principal.organizationId, projects: projectFilter(principal) };
      const found = await services.ledger.read(operationIdOf(params.id), seenBy);
      if (found === null) throw notFound("operation");
      const operation = await waitAsPreferred(services.waiters, request, reply, found);
      await sayWhenToLook(services, reply, operation);
      return toOperationWire(operation);
    },
  );

  app.get(
    "/operations",
    {
      config: { scopes: ["operation:read"] },
      schema: {
        operationId: "listOperations",
        summary: "List operations, newest first",
        tags: ["operations"],
        querystring: Type.Object({
          ...PageQuery,
          status: Type.Optional(STATUS_FILTER),
          operationType: Type.Optional(Type.String({ maxLength: 100 })),
          resource: Type.Optional(
            Type.String({ ...Uuid, description: "Id of the resource that they are on." }),
          ),
          project: Type.Optional(Type.String({ ...Uuid, description: "Id of their project." })),
          since: Type.Optional(Timestamp),
        }),
        response: {
          200: Type.Object({
            items: Type.Array(ref(OperationWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, query }) => {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const operations = await services.ledger.list(
        { organizationId: principal.organizationId, projects: projectFilter(principal) },
        {
          status: query.status ?? null,
          operationType: query.operationType ?? null,
          resourceId: idFilter(query.resource, "resource"),
          projectId: idFilter(query.project, "project"),
          since: query.since === undefined ? null : new Date(query.since),
        },
        limit + 1,
        decodeCursor(query.cursor, ID_POSITION),
      );
      const { items, nextCursor } = page(operations, limit, ({ id }) => id);
      return { items: items.map(toOperationWire), nextCursor };
    },
  );
};
