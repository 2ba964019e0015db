import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import { nameScopes } from "../../auth/scopes.js";
import { TOKEN_LIFETIME } from "../../domain/access/limits.js";
import type { ResourceServerView } from "../../domain/access/resource-servers.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { problems, ref, Timestamp, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { Name, ScopesBody } from "./clients-wire.js";

const DialectNames = Type.Array(Type.Enum(["core", "project", "topics", "runs", "deployments"]), {
  minItems: 1,
  maxItems: 5,
  uniqueItems: true,
  description: "The APIs that its tokens open.",
});

const Changes = {
  name: Type.Optional(Name),
  tokenLifetime: Type.Optional(
    Type.Integer({ ...TOKEN_LIFETIME, description: "Seconds; 3600 where nothing is said." }),
  ),
  scopes: Type.Optional(ScopesBody),
  dialects: Type.Optional(DialectNames),
};

const CreateBody = Type.Object(
  {
    identifier: Type.String({
      minLength: 1,
      maxLength: 500,
      description: "What token requests name as `audience` or `resource`: a name, or an absolute URI.",
    }),
    ...Changes,
  },
  {
    additionalProperties: false,
    examples: [
      { identifier: "https://api.example.com/api/", name: "the old address", tokenLifetime: 86_400 },
    ],
  },
);

const UpdateBody = Type.Object(Changes, {
  additionalProperties: false,
  examples: [{ dialects: ["core"] }],
});

export const ResourceServerWire = Type.Object(
  {
    id: Uuid,
    organizationId: Uuid,
    identifier: Type.String(),
    audience: Type.String({ description: "The `aud` of its tokens." }),
    name: Type.String(),
    tokenLifetime: Type.Integer(),
    scopes: Type.Array(Type.String(), { description: "What its tokens may hold at most." }),
    dialects: Type.Array(Type.String()),
    createdBy: Type.String(),
    createdAt: Timestamp,
    updatedAt: Timestamp,
  },
  {
    $id: "ResourceServer",
    examples: [
      {
        id: "0199b3c4-2b3c-7d4e-8f5a-6b7c8d9e0f10",
        organizationId: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
        identifier: "https://api.example.com/api/",
        audience: "https://api.example.com/api/",
        name: "the old address",
        tokenLifetime: 86_400,
        scopes: ["service"],
        dialects: ["core", "project", "topics", "runs", "deployments"],
        createdBy: "administrator",
        createdAt: "2026-11-22T10:15:00.000Z",
        updatedAt: "2026-11-22T10:15:00.000Z",
      },
    ],
  },
);

function toWire(server: ResourceServerView): Static<typeof ResourceServerWire> {
  const { id, organizationId, identifier, audience, name, tokenLifetime, createdBy } = server;
  return {
    ...{ id, organizationId, identifier, audience, name, tokenLifetime, createdBy },
    scopes: nameScopes(server.scopes),
    dialects: [...server.dialects],
    createdAt: server.createdAt.toISOString(),
    updatedAt: server.updatedAt.toISOString(),
  };
}

const Params = Type.Object({ id: Uuid });
const tags = ["resource servers"];
const read = { scopes: ["resourceServer:read"] } as const;
const write = { scopes: ["resourceServer:write"] } as const;

/** Audiences of the organization's own, besides the built-in ones. */
export const resourceServerRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  const { resourceServers } = services;

  app.post(
    "/resource-servers",
    {
      config: write,
      schema: {
        operationId: "createResourceServer",
        summary: "Register a resource server",
        description: "Clients of the organization can ask for tokens for it from then on.",
        tags,
        body: CreateBody,
        response: { 201: ref(ResourceServerWire), ...problems(409) },
      },
    },
    async ({ principal, body }, reply) => {
      const server = await resourceServers.create(principal, body);
      reply.code(201).header("location", `/api/v1/resource-servers/${server.id}`);
      return toWire(server);
    },
  );

  app.get(
    "/resource-servers",
    {
      config: read,
      schema: {
        operationId: "listResourceServers",
        summary: "List registered resource servers",
        tags,
        querystring: Type.Object(PageQuery),
        response: {
          200: Type.Object({
            items: Type.Array(ref(ResourceServerWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, query }) => {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const found = await resourceServers.list(principal, limit + 1, decodeCursor(query.cursor, ID_POSITION));
      const { items, nextCursor } = page(found, limit, ({ id }) => id);
      return { items: items.map(toWire), nextCursor };
    },
  );

  app.get(
    "/resource-servers/:id",
    {
      config: read,
      schema: {
        operationId: "getResourceServer",
        summary: "Read one resource server",
        tags,
        params: Params,
        response: { 200: ref(ResourceServerWire), ...problems() },
      },
    },
    async ({ principal, params }) => toWire(await resourceServers.get(principal, params.id)),
  );

  app.patch(
    "/resource-servers/:id",
    {
      config: write,
      schema: {
        operationId: "updateResourceServer",
        summary: "Change a resource server",
        description:
          "Changes what is given; what is taken away is taken from tokens that are out, too. The identifier stays.",
        tags,
        params: Params,
        body: UpdateBody,
        response: { 200: ref(ResourceServerWire), ...problems() },
      },
    },
    async ({ principal, params, body }) => toWire(await resourceServers.update(principal, params.id, body)),
  );

  app.delete(
    "/resource-servers/:id",
    {
      config: write,
      schema: {
        operationId: "deleteResourceServer",
        summary: "Delete a resource server",
        description: "Its tokens open nothing any more.",
        tags,
        params: Params,
        response: { 204: Type.Null({ description: "Deleted." }), ...problems() },
      },
    },
    async ({ principal, params }, reply) => {
      await resourceServers.delete(principal, params.id);
      return reply.code(204).send(null);
    },
  );
};
