import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import type { ApiKeyOrder, ApiKeyView } from "../../domain/access/api-keys.js";
import { permissionsOf } from "../../domain/access/permissions.js";
import { ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import { ListQuery, Millis, NullableMillis, toPage, topicsFailures } from "./wire.js";

const Name = Type.String({ minLength: 1, maxLength: 191, pattern: "\\S" });

const Permissions = Type.Array(
  Type.Object({
    topic: Type.String({ maxLength: 60 }),
    read: Type.Optional(Type.Boolean()),
    write: Type.Optional(Type.Boolean()),
  }),
  { maxItems: 100, description: "In forms: the same as JSON text." },
);

/** The end of the year 9999. */
const MAX_MILLIS = 253_402_300_799_999;

const Settings = {
  permissionAllRead: Type.Optional(Type.Boolean({ description: "May read every topic." })),
  permissionAllWrite: Type.Optional(Type.Boolean({ description: "May write every topic." })),
  permissions: Type.Optional(Permissions),
  allProjects: Type.Optional(Type.Boolean()),
  projects: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 200 }), {
      maxItems: 200,
      description: "Ids, slugs or numbers. Left out at creation: all that the caller reaches.",
    }),
  ),
  expiresAt: Type.Optional(
    Type.Union([Type.Integer({ minimum: 0, maximum: MAX_MILLIS }), Type.Null()], {
      description: "Milliseconds since 1970; null: never.",
    }),
  ),
};

const CreateBody = Type.Object(
  {
    id: Type.Optional(
      Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,190}$", description: "Made up where left out." }),
    ),
    name: Name,
    ...Settings,
  },
  {
    examples: [
      { id: "production", name: "production", permissions: [{ topic: "source", read: true, write: true }] },
    ],
  },
);

const UpdateBody = Type.Object(
  { name: Type.Optional(Name), ...Settings, disabled: Type.Optional(Type.Boolean()) },
  { examples: [{ permissionAllRead: true }] },
);

const Fields = {
  id: Type.String(),
  name: Type.String(),
  prefix: Type.String({ description: "What the key begins with." }),
  permissionAllRead: Type.Boolean(),
  permissionAllWrite: Type.Boolean(),
  permissions: Type.Array(Type.Object({ topic: Type.String(), read: Type.Boolean(), write: Type.Boolean() })),
  allProjects: Type.Boolean(),
  projects: Type.Array(Type.String()),
  locked: Type.Union([Type.String(), Type.Null()], { description: "Such as `config:code`." }),
  disabled: Type.Boolean(),
  createdAt: Millis,
  updatedAt: Millis,
  lastUsedAt: NullableMillis,
  expiresAt: NullableMillis,
};

const EXAMPLE = {
  id: "production",
  name: "production",
  prefix: "gh_Zm9yIHRo",
  permissionAllRead: false,
  permissionAllWrite: false,
  permissions: [
    { topic: "app", read: false, write: false },
    { topic: "source", read: true, write: true },
  ],
  allProjects: true,
  projects: [],
  locked: null,
  disabled: false,
  createdAt: 1_629_494_788_513,
  updatedAt: 1_629_494_788_588,
  lastUsedAt: null,
  expiresAt: null,
};

export const ApiKeyWire = Type.Object(Fields, { $id: "ApiKey", examples: [EXAMPLE] });

export const CreatedApiKeyWire = Type.Object(
  { ...Fields, apiKey: Type.String({ description: "The key itself: shown this once." }) },
  {
    $id: "CreatedApiKey",
    examples: [{ ...EXAMPLE, apiKey: "gh_Zm9yIHRoZSBkb2N1bWVudCBvbmx5LCBub3QgYSBrZXk" }],
  },
);

function toWire(apiKey: ApiKeyView): Static<typeof ApiKeyWire> {
  const { permissionAllRead, permissionAllWrite, permissions } = permissionsOf(apiKey.scopes);
  return {
    id: apiKey.key,
    name: apiKey.name,
    prefix: apiKey.prefix,
    permissionAllRead,
    permissionAllWrite,
    permissions: [...permissions],
    allProjects: apiKey.projects === "all",
    projects: apiKey.projects === "all" ? [] : [...apiKey.projects],
    locked: apiKey.locked,
    disabled: apiKey.disabledAt !== null,
    createdAt: apiKey.createdAt.getTime(),
    updatedAt: apiKey.updatedAt.getTime(),
    lastUsedAt: apiKey.lastUsedAt?.getTime() ?? null,
    expiresAt: apiKey.expiresAt?.getTime() ?? null,
  };
}

/** Fields that were sent, by name: what else a form holds, the key that it is sent with above all, goes no further. */
function toChanges(body: Static<typeof UpdateBody>) {
  const { name, permissionAllRead, permissionAllWrite, permissions, allProjects, projects, disabled } = body;
  const { expiresAt } = body;
  const all = {
    ...{ name, permissionAllRead, permissionAllWrite, permissions, allProjects, projects, disabled },
    expiresAt: typeof expiresAt === "number" ? new Date(expiresAt) : expiresAt,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Partial<
    typeof all
  >;
}

const ORDER: Readonly<Record<string, ApiKeyOrder>> = {
  id: "key",
  name: "name",
  createdAt: "createdAt",
  updatedAt: "updatedAt",
};

const Params = Type.Object({ id: Type.String({ maxLength: 191 }) });
const Item = Type.Object({ apiKey: ref(ApiKeyWire) });
const tags = ["api keys"];
const BODIES = ["application/json", "application/x-www-form-urlencoded"];
const read = { scopes: ["apiKey:read"] } as const;
const write = { scopes: ["apiKey:write"] } as const;

/** API keys. */
export const apiKeyRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  const { apiKeys } = services;

  app.get(
    "/apiKeys",
    {
      config: read,
      schema: {
        operationId: "listApiKeys",
        summary: "List API keys",
        tags,
        querystring: ListQuery,
        response: {
          200: Type.Object({ apiKeys: Type.Array(ref(ApiKeyWire)), total: Type.Integer() }),
          ...topicsFailures(),
        },
      },
    },
    async ({ principal, query }) => {
      const found = await apiKeys.list(principal, toPage(query, ORDER));
      return { apiKeys: found.apiKeys.map(toWire), total: found.total };
    },
  );

  app.post(
    "/apiKey",
    {
      config: write,
      schema: {
        operationId: "createApiKey",
        summary: "Create an API key",
        description: "The key is shown once. It never may more than the caller may.",
        tags,
        consumes: BODIES,
        body: CreateBody,
        response: { 200: Type.Object({ apiKey: ref(CreatedApiKeyWire) }), ...topicsFailures(409) },
      },
    },
    async ({ principal, body }, reply) => {
      const input = { ...toChanges(body), name: body.name, key: body.id };
      const { apiKey, secret } = await apiKeys.create(principal, input);
      reply.header("cache-control", "no-store");
      return { apiKey: { ...toWire(apiKey), apiKey: secret } };
    },
  );

  app.get(
    "/apiKey/:id",
    {
      config: read,
      schema: {
        operationId: "getApiKey",
        summary: "Read one API key",
        tags,
        params: Params,
        response: { 200: Item, ...topicsFailures() },
      },
    },
    async ({ principal, params }) => ({ apiKey: toWire(await apiKeys.get(principal, params.id)) }),
  );

  app.put(
    "/apiKey/:id",
    {
      config: write,
      schema: {
        operationId: "updateApiKey",
        summary: "Change an API key",
        description:
          "Changes what is given, from the next request on. A `permissionAll...` that is set to false takes all of it back but what `permissions` names.",
        tags,
        params: Params,
        consumes: BODIES,
        body: UpdateBody,
        response: { 200: Item, ...topicsFailures(409) },
      },
    },
    async ({ principal, params, body }) => ({
      apiKey: toWire(await apiKeys.update(principal, params.id, toChanges(body))),
    }),
  );

  app.delete(
    "/apiKey/:id",
    {
      config: write,
      schema: {
        operationId: "deleteApiKey",
        summary: "Delete an API key",
        description: "It opens nothing from the next request on.",
        tags,
        params: Params,
        response: { 200: Type.Object({ success: Type.Literal(true) }), ...topicsFailures(409) },
      },
    },
    async ({ principal, params }) => {
      await apiKeys.delete(principal, params.id);
      return { success: true as const };
    },
  );

  app.get(
    "/permissions",
    {
      config: read,
      schema: {
        operationId: "listPermissions",
        summary: "List the topics of permissions",
        description: "With what the caller may do with each, and so may allow a key.",
        tags,
        response: {
          200: Type.Object({ permissions: Fields.permissions, total: Type.Integer() }),
          ...topicsFailures(),
        },
      },
    },
    async ({ principal }) => {
      const permissions = [...permissionsOf(principal.scopes).permissions];
      return { permissions, total: permissions.length };
    },
  );
};
