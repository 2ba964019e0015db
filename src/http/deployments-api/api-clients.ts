import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import { ROLE_SCOPES } from "../../auth/roles.js";
import type { ClientView } from "../../domain/access/client-view.js";
import { invalid } from "../../platform/errors.js";
import { decodeCursor, ID_POSITION, MAX_LIMIT, PageQuery } from "../pagination.js";
import { ref, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { deploymentsFailures, HttpDate, linkNextPage, NullableHttpDate, toHttpDate } from "./wire.js";

const Name = Type.String({ minLength: 1, maxLength: 200, pattern: "\\S" });
const EnvironmentIds = Type.Array(Type.String({ minLength: 1, maxLength: 200 }), {
  maxItems: 200,
  description:
    "The environments (projects) that it reaches: ids, slugs or numbers. In forms: repeated, or JSON text.",
});

const CreateBody = Type.Object(
  {
    name: Name,
    environmentIds: Type.Optional(EnvironmentIds),
    environments: Type.Optional({ ...EnvironmentIds, description: "Another name of `environmentIds`." }),
  },
  { examples: [{ name: "backup script", environmentIds: ["0199b3c0-0a1b-7c2d-8e3f-405162738495"] }] },
);

const UpdateBody = Type.Object(
  { ...CreateBody.properties, name: Type.Optional(Name) },
  { examples: [{ name: "nightly backup" }] },
);

const Fields = {
  id: Uuid,
  organizationId: Uuid,
  name: Type.String(),
  clientId: Type.String(),
  environmentIds: Type.Array(Uuid),
  allEnvironments: Type.Boolean(),
  disabled: Type.Boolean(),
  createdAt: HttpDate,
  updatedAt: HttpDate,
  lastUsedAt: NullableHttpDate,
  expiresAt: NullableHttpDate,
};

const EXAMPLE = {
  id: "0199b3c0-0a1b-7c2d-8e3f-405162738496",
  organizationId: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
  name: "backup script",
  clientId: "6f1d2c3b4a59687786950a1b2c3d4e5f",
  environmentIds: ["0199b3c0-0a1b-7c2d-8e3f-405162738495"],
  allEnvironments: false,
  disabled: false,
  createdAt: "Sun, 22 Nov 2026 10:15:00 GMT",
  updatedAt: "Sun, 22 Nov 2026 10:15:00 GMT",
  lastUsedAt: null,
  expiresAt: null,
};

export const ApiClientWire = Type.Object(Fields, { $id: "DeploymentsApiClient", examples: [EXAMPLE] });

export const CreatedApiClientWire = Type.Object(
  { ...Fields, clientSecret: Type.String({ description: "Shown this once." }) },
  {
    $id: "DeploymentsCreatedApiClient",
    examples: [{ ...EXAMPLE, clientSecret: "Zm9yIHRoZSBkb2N1bWVudCBvbmx5LCBub3QgYSBzZWNyZXQ" }],
  },
);

function toWire(client: ClientView): Static<typeof ApiClientWire> {
  const { id, organizationId, name, clientId, projects } = client;
  return {
    ...{ id, organizationId, name, clientId },
    environmentIds: projects === "all" ? [] : [...projects],
    allEnvironments: projects === "all",
    disabled: client.disabledAt !== null,
    createdAt: toHttpDate(client.createdAt),
    updatedAt: toHttpDate(client.updatedAt),
    lastUsedAt: client.lastUsedAt === null ? null : toHttpDate(client.lastUsedAt),
    expiresAt: client.expiresAt === null ? null : toHttpDate(client.expiresAt),
  };
}

function requiredEnvironments({ environmentIds, environments }: Static<typeof CreateBody>): string[] {
  const chosen = environmentIds ?? environments;
  if (chosen !== undefined) return chosen;
  throw invalid("/environmentIds is required", [{ path: "/environmentIds", message: "is required" }]);
}

/** What a client of this dialect may do: work at the databases of its environments. */
const SCOPES = [...ROLE_SCOPES.operator];

const Params = Type.Object({ id: Type.String({ maxLength: 256, description: "Its id, or its clientId." }) });
const tags = ["api clients"];
const BODIES = ["application/json", "application/x-www-form-urlencoded"];
const read = { scopes: ["client:read"] } as const;
const write = { scopes: ["client:write"] } as const;
const ROOT = "/organizations/api-clients";

/** API clients as the deployments API shows them: a name and environments. */
export const apiClientRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  const { clients, clientSecrets } = services;

  app.get(
    ROOT,
    {
      config: read,
      schema: {
        operationId: "listDeploymentsApiClients",
        summary: "List API clients",
        description: `At most ${MAX_LIMIT}; a \`Link\` header leads to more.`,
        tags,
        querystring: Type.Object(PageQuery),
        response: {
          200: {
            ...Type.Array(ref(ApiClientWire)),
            headers: { Link: { type: "string", description: 'The next page, `rel="next"` (RFC 8288).' } },
          },
          ...deploymentsFailures(),
        },
      },
    },
    async (request, reply) => {
      const { principal, query } = request;
      const limit = query.limit ?? MAX_LIMIT;
      const found = await clients.list(principal, limit + 1, decodeCursor(query.cursor, ID_POSITION));
      return linkNextPage(request.url, reply, found, limit).map(toWire);
    },
  );

  app.post(
    ROOT,
    {
      config: write,
      schema: {
        operationId: "createDeploymentsApiClient",
        summary: "Create an API client",
        description:
          "It may work at the deployments of its environments, as an operator. The secret is shown once.",
        tags,
        consumes: BODIES,
        body: CreateBody,
        response: { 201: ref(CreatedApiClientWire), ...deploymentsFailures() },
      },
    },
    async ({ principal, body }, reply) => {
      const projects = requiredEnvironments(body);
      const { client, clientSecret } = await clients.create(principal, {
        name: body.name,
        scopes: SCOPES,
        projects,
      });
      reply.code(201).header("location", `${ROOT}/${client.id}`).header("cache-control", "no-store");
      return { ...toWire(client), clientSecret: clientSecret ?? "" };
    },
  );

  app.get(
    `${ROOT}/:id`,
    {
      config: read,
      schema: {
        operationId: "getDeploymentsApiClient",
        summary: "Read one API client",
        tags,
        params: Params,
        response: { 200: ref(ApiClientWire), ...deploymentsFailures() },
      },
    },
    async ({ principal, params }) => toWire(await clients.get(principal, params.id)),
  );

  app.put(
    `${ROOT}/:id`,
    {
      config: write,
      schema: {
        operationId: "updateDeploymentsApiClient",
        summary: "Change the name or the environments of an API client",
        tags,
        params: Params,
        consumes: BODIES,
        body: UpdateBody,
        response: { 200: ref(ApiClientWire), ...deploymentsFailures() },
      },
    },
    async ({ principal, params, body }) => {
      const projects = body.environmentIds ?? body.environments;
      const changes = {
        ...(body.name === undefined ? {} : { name: body.name }),
        ...(projects === undefined ? {} : { projects }),
      };
      return toWire(await clients.update(principal, params.id, changes));
    },
  );

  app.delete(
    `${ROOT}/:id`,
    {
      config: write,
      schema: {
        operationId: "deleteDeploymentsApiClient",
        summary: "Delete an API client",
        tags,
        params: Params,
        response: { 204: Type.Null({ description: "Deleted." }), ...deploymentsFailures() },
      },
    },
    async ({ principal, params }, reply) => {
      await clients.delete(principal, params.id);
      return reply.code(204).send(null);
    },
  );

  app.post(
    `${ROOT}/:id/refresh-secret`,
    {
      config: write,
      schema: {
        operationId: "refreshDeploymentsApiClientSecret",
        summary: "Exchange the secret of an API client",
        description: "The old secret ends at once, and the tokens with it. The new one is shown once.",
        tags,
        params: Params,
        response: { 201: ref(CreatedApiClientWire), ...deploymentsFailures(409) },
      },
    },
    async ({ principal, params }, reply) => {
      const { client, clientSecret } = await clientSecrets.replace(principal, params.id);
      reply.code(201).header("cache-control", "no-store");
      return { ...toWire(client), clientSecret };
    },
  );
};
