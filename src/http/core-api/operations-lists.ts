import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import { type Principal, projectFilter } from "../../auth/principal.js";
import { ofJob, ofRun } from "../../domain/runs/belonging.js";
import type { Belonging } from "../../operations/listing.js";
import { invalid } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { problems, ref, Timestamp, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { jobIdOf } from "./jobs.js";
import { OperationWire, toOperationWire } from "./wire.js";

const STATUS_FILTER = Type.Enum(["pending", "running", "cancelling", "succeeded", "failed", "cancelled"]);

const Narrowed = {
  ...PageQuery,
  status: Type.Optional(STATUS_FILTER),
  operationType: Type.Optional(Type.String({ maxLength: 100 })),
  since: Type.Optional(Timestamp),
};
const OfOne = Type.Object(Narrowed);
const OfAll = Type.Object({
  ...Narrowed,
  resource: Type.Optional(Type.String({ ...Uuid, description: "Id of the resource that they are on." })),
  project: Type.Optional(Type.String({ ...Uuid, description: "Id of their project." })),
});

const Id = Type.Object({ id: Uuid });
const config = { scopes: ["operation:read"] } as const;
const tags = ["operations"];
const response = {
  200: Type.Object({
    items: Type.Array(ref(OperationWire)),
    nextCursor: Type.Union([Type.String(), Type.Null()]),
  }),
  ...problems(),
};

function idFilter(text: string | undefined, name: string): string | null {
  if (text === undefined) return null;
  const id = parseId(text);
  if (id === null)
    throw invalid(`${name} must be a UUID`, [{ path: `/query/${name}`, message: "must be a UUID" }]);
  return id;
}

async function listed(
  { ledger }: Services,
  principal: Principal,
  query: Static<typeof OfAll>,
  of?: Belonging,
) {
  const { limit = DEFAULT_LIMIT, cursor, status = null, operationType = null, since } = query;
  const operations = await ledger.list({
    seenBy: { organizationId: principal.organizationId, projects: projectFilter(principal) },
    filter: {
      ...{ status, operationType },
      resourceId: idFilter(query.resource, "resource"),
      projectId: idFilter(query.project, "project"),
      since: since === undefined ? null : new Date(since),
    },
    limit: limit + 1,
    before: decodeCursor(cursor, ID_POSITION),
    ...(of === undefined ? {} : { of }),
  });
  const { items, nextCursor } = page(operations, limit, ({ id }) => id);
  return { items: items.map(toOperationWire), nextCursor };
}

/** Lists of operations: all that the caller reaches, and those of one thing. */
export const operationListRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.get(
    "/operations",
    {
      config,
      schema: {
        operationId: "listOperations",
        summary: "List operations, newest first",
        tags,
        querystring: OfAll,
        response,
      },
    },
    ({ principal, query }) => listed(services, principal, query),
  );

  app.get(
    "/jobs/:id/operations",
    {
      config,
      schema: {
        operationId: "listJobOperations",
        summary: "List the operations of a job and of its runs, newest first",
        tags,
        params: Id,
        querystring: OfOne,
        response,
      },
    },
    async ({ principal, params, query }) => {
      const { id } = await services.jobs.getAny(principal, jobIdOf(params.id));
      return listed(services, principal, query, ofJob(id));
    },
  );

  app.get(
    "/job-runs/:id/operations",
    {
      config,
      schema: {
        operationId: "listJobRunOperations",
        summary: "List the operations of a run, newest first",
        description: "Operations are kept for a shorter time than runs: of an old run there may be none.",
        tags,
        params: Id,
        querystring: OfOne,
        response,
      },
    },
    async ({ principal, params, query }) => {
      const { id } = await services.runs.get(principal, params.id);
      return listed(services, principal, query, ofRun(id));
    },
  );
};
