import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import { MAX_SLUG, type Project, SLUG_PATTERN } from "../../domain/projects/projects.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { problems, ref, Timestamp, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { Name } from "./clients-wire.js";

const Environment = Type.Enum(["development", "staging", "production"]);
const Slug = Type.String({
  pattern: SLUG_PATTERN,
  maxLength: MAX_SLUG,
  description: "Lower-case letters, digits and single dashes; begins with a letter.",
});

/** A project in a body. */
export const ProjectBody = Type.Object(
  { slug: Slug, name: Type.Optional(Name), environment: Type.Optional(Environment) },
  {
    additionalProperties: false,
    examples: [{ slug: "billing", name: "Billing", environment: "production" }],
  },
);

/** What a body leaves out: the slug is a name too, and nothing is production by accident. */
export function toProjectInput({
  slug,
  name = slug,
  environment = "development",
}: Static<typeof ProjectBody>) {
  return { slug, name, environment };
}

const UpdateBody = Type.Object(
  { slug: Type.Optional(Slug), name: Type.Optional(Name), environment: Type.Optional(Environment) },
  { additionalProperties: false, examples: [{ name: "Billing" }] },
);

export const ProjectWire = Type.Object(
  {
    id: Uuid,
    number: Type.Integer({ description: "What the project API takes besides slug and id." }),
    organizationId: Uuid,
    slug: Type.String(),
    name: Type.String(),
    environment: Environment,
    createdAt: Timestamp,
    updatedAt: Timestamp,
  },
  {
    $id: "Project",
    examples: [
      {
        id: "0199b3c0-0a1b-7c2d-8e3f-405162738495",
        number: 1,
        organizationId: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
        slug: "default",
        name: "Default",
        environment: "development",
        createdAt: "2026-11-22T10:00:00.000Z",
        updatedAt: "2026-11-22T10:00:00.000Z",
      },
    ],
  },
);

export function toProjectWire(project: Project): Static<typeof ProjectWire> {
  const { id, number, organizationId, slug, name, environment } = project;
  return {
    ...{ id, number, organizationId, slug, name, environment },
    createdAt: project.createdAt.toISOString(),
    updatedAt: project.updatedAt.toISOString(),
  };
}

const Params = Type.Object({
  id: Type.String({ maxLength: 200, description: "The project's id, slug or number." }),
});
const tags = ["projects"];
const read = { scopes: ["project:read"] } as const;
const write = { scopes: ["project:write"] } as const;

/** Projects: where connections, jobs and deployments live. */
export const projectRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  const { projects } = services;

  app.post(
    "/projects",
    {
      config: write,
      schema: {
        operationId: "createProject",
        summary: "Create a project",
        description: "Only for callers that reach all projects.",
        tags,
        body: ProjectBody,
        response: { 201: ref(ProjectWire), ...problems(409) },
      },
    },
    async ({ principal, body }, reply) => {
      const project = await projects.create(principal, toProjectInput(body));
      reply.code(201).header("location", `/api/v1/projects/${project.id}`);
      return toProjectWire(project);
    },
  );

  app.get(
    "/projects",
    {
      config: read,
      schema: {
        operationId: "listProjects",
        summary: "List the projects that the caller reaches",
        tags,
        querystring: Type.Object(PageQuery),
        response: {
          200: Type.Object({
            items: Type.Array(ref(ProjectWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, query }) => {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const found = await projects.list(principal, limit + 1, decodeCursor(query.cursor, ID_POSITION));
      const { items, nextCursor } = page(found, limit, ({ id }) => id);
      return { items: items.map(toProjectWire), nextCursor };
    },
  );

  app.get(
    "/projects/:id",
    {
      config: read,
      schema: {
        operationId: "getProject",
        summary: "Read one project",
        tags,
        params: Params,
        response: { 200: ref(ProjectWire), ...problems() },
      },
    },
    async ({ principal, params }) => toProjectWire(await projects.find(principal, params.id)),
  );

  app.patch(
    "/projects/:id",
    {
      config: write,
      schema: {
        operationId: "updateProject",
        summary: "Change a project",
        description:
          "A production project becomes another kind only with the scope `production:destructive`.",
        tags,
        params: Params,
        body: UpdateBody,
        response: { 200: ref(ProjectWire), ...problems(409) },
      },
    },
    async ({ principal, params, body }) => toProjectWire(await projects.update(principal, params.id, body)),
  );

  app.delete(
    "/projects/:id",
    {
      config: write,
      schema: {
        operationId: "deleteProject",
        summary: "Delete an empty project",
        description:
          "Refused while connections, jobs or deployments live in it; of a production project with `production:destructive` only.",
        tags,
        params: Params,
        response: { 204: Type.Null({ description: "Deleted." }), ...problems(409) },
      },
    },
    async ({ principal, params }, reply) => {
      await projects.delete(principal, params.id);
      return reply.code(204).send(null);
    },
  );
};
