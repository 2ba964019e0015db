import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import type { OrganizationView } from "../../domain/access/organizations.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { NullableTimestamp, problems, ref, Timestamp, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { Name } from "./clients-wire.js";
import { ProjectBody, ProjectWire, toProjectInput, toProjectWire } from "./projects.js";

const CreateBody = Type.Object(
  {
    name: Name,
    project: Type.Optional(ProjectBody),
    administrator: Type.Optional(Type.Object({ name: Type.Optional(Name) }, { additionalProperties: false })),
  },
  {
    additionalProperties: false,
    examples: [{ name: "Example Ltd", project: { slug: "main" }, administrator: { name: "operations" } }],
  },
);

const Concurrency = Type.Union([Type.Integer({ minimum: 1, maximum: 1_000 }), Type.Null()], {
  description: "Operations that it has running at once; null: as many as `ORGANIZATION_CONCURRENCY` says.",
});

const ChangeBody = Type.Object(
  { name: Type.Optional(Name), concurrency: Type.Optional(Concurrency) },
  { additionalProperties: false, minProperties: 1, examples: [{ name: "Example plc", concurrency: 100 }] },
);

export const OrganizationWire = Type.Object(
  {
    id: Uuid,
    name: Type.String(),
    disabled: Type.Boolean(),
    disabledAt: NullableTimestamp,
    concurrency: Concurrency,
    createdAt: Timestamp,
  },
  {
    $id: "Organization",
    examples: [
      {
        id: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
        name: "Example Ltd",
        disabled: false,
        disabledAt: null,
        concurrency: null,
        createdAt: "2026-11-22T10:00:00.000Z",
      },
    ],
  },
);

const CreatedWire = Type.Object({
  ...OrganizationWire.properties,
  project: ref(ProjectWire),
  client: Type.Object(
    {
      id: Uuid,
      clientId: Type.String(),
      clientSecret: Type.String({ description: "Shown this once." }),
    },
    { description: "May do everything in the organization, in production projects too." },
  ),
});

function toWire({
  id,
  name,
  disabledAt,
  concurrency,
  createdAt,
}: OrganizationView): Static<typeof OrganizationWire> {
  return {
    id,
    name,
    concurrency,
    disabled: disabledAt !== null,
    disabledAt: disabledAt?.toISOString() ?? null,
    createdAt: createdAt.toISOString(),
  };
}

const Params = Type.Object({ id: Uuid });
const tags = ["organizations"];
const config = { scopes: ["platform:admin"] } as const;

/** The tenants of the installation, for who runs it. */
export const organizationRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  const { organizations } = services;

  app.post(
    "/organizations",
    {
      config,
      schema: {
        operationId: "createOrganization",
        summary: "Create an organization",
        description:
          "With its first project (`default` where nothing is said) and its first client, whose secret is shown once.",
        tags,
        body: CreateBody,
        response: { 201: CreatedWire, ...problems() },
      },
    },
    async ({ principal, body }, reply) => {
      const { organization, project, client } = await organizations.create(principal, {
        name: body.name,
        project: toProjectInput(body.project ?? { slug: "default", name: "Default" }),
        administrator: body.administrator?.name ?? "administrator",
      });
      reply.code(201).header("location", `/api/v1/organizations/${organization.id}`);
      reply.header("cache-control", "no-store");
      return { ...toWire(organization), project: toProjectWire(project), client };
    },
  );

  app.get(
    "/organizations",
    {
      config,
      schema: {
        operationId: "listOrganizations",
        summary: "List organizations",
        tags,
        querystring: Type.Object(PageQuery),
        response: {
          200: Type.Object({
            items: Type.Array(ref(OrganizationWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ query }) => {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const found = await organizations.list(limit + 1, decodeCursor(query.cursor, ID_POSITION));
      const { items, nextCursor } = page(found, limit, ({ id }) => id);
      return { items: items.map(toWire), nextCursor };
    },
  );

  app.get(
    "/organizations/:id",
    {
      config,
      schema: {
        operationId: "getOrganization",
        summary: "Read one organization",
        tags,
        params: Params,
        response: { 200: ref(OrganizationWire), ...problems() },
      },
    },
    async ({ params }) => toWire(await organizations.get(params.id)),
  );

  app.patch(
    "/organizations/:id",
    {
      config,
      schema: {
        operationId: "changeOrganization",
        summary: "Rename an organization, or change how much of it runs at once",
        description: "A smaller `concurrency` ends nothing that runs: less begins until it holds.",
        tags,
        params: Params,
        body: ChangeBody,
        response: { 200: ref(OrganizationWire), ...problems() },
      },
    },
    async ({ principal, params, body }) => toWire(await organizations.change(principal, params.id, body)),
  );

  for (const action of ["disable", "enable"] as const) {
    app.post(
      `/organizations/:id/${action}`,
      {
        config,
        schema: {
          operationId: `${action}Organization`,
          summary: action === "disable" ? "Disable an organization" : "Enable an organization again",
          description:
            action === "disable"
              ? "Nobody of it gets in: no client, key, session or token. Repeating it changes nothing."
              : "Tokens and sessions from before stay dead. Repeating it changes nothing.",
          tags,
          params: Params,
          response: { 200: ref(OrganizationWire), ...problems(...(action === "disable" ? [409] : [])) },
        },
      },
      async ({ principal, params }) => toWire(await organizations[action](principal, params.id)),
    );
  }
};
