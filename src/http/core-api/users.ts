import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import { ROLES } from "../../auth/roles.js";
import type { UserView } from "../../domain/access/users.js";
import { EMAIL_PATTERN, MAX_EMAIL, USERNAME_PATTERN } from "../../domain/people/names.js";
import { PASSWORD_LENGTH } from "../../domain/people/passwords.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { NullableTimestamp, problems, ref, Timestamp, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { ProjectsBody, ProjectsWire, toProjectsWire } from "./clients-wire.js";

const Email = Type.String({ pattern: EMAIL_PATTERN, maxLength: MAX_EMAIL });
const Password = Type.String({
  maxLength: 1_000,
  description: `${PASSWORD_LENGTH.min} to ${PASSWORD_LENGTH.max} characters; neither of the user's names.`,
});
const Role = Type.Enum([...ROLES], {
  description:
    "`owner`: everything of the organization; `admin`: everything but what destroys in production; `operator`: deployments and operations; `viewer`: reads all but credentials, users and the audit log. Nobody grants a role that may do more than they may.",
});

const CreateBody = Type.Object(
  {
    username: Type.String({ pattern: USERNAME_PATTERN, description: "Case makes no difference." }),
    email: Email,
    password: Password,
    role: Type.Optional(Role),
    ...ProjectsBody,
  },
  {
    additionalProperties: false,
    examples: [
      {
        username: "grace",
        email: "grace@example.com",
        password: "correct horse battery staple",
        role: "operator",
        projects: ["default"],
      },
    ],
  },
);

const UpdateBody = Type.Object(
  {
    email: Type.Optional(Email),
    role: Type.Optional(Role),
    disabled: Type.Optional(Type.Boolean()),
    ...ProjectsBody,
  },
  { additionalProperties: false, examples: [{ role: "viewer" }] },
);

const PasswordBody = Type.Object(
  { password: Password },
  { additionalProperties: false, examples: [{ password: "correct horse battery staple" }] },
);

export const UserWire = Type.Object(
  {
    id: Uuid,
    organizationId: Uuid,
    username: Type.String(),
    email: Type.String(),
    role: Role,
    ...ProjectsWire,
    disabled: Type.Boolean(),
    lockedUntil: NullableTimestamp,
    lastLoginAt: NullableTimestamp,
    createdBy: Type.String(),
    createdAt: Timestamp,
    updatedAt: Timestamp,
  },
  {
    $id: "User",
    examples: [
      {
        id: "0199b3c4-3c4d-7e5f-8a6b-7c8d9e0f1021",
        organizationId: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
        username: "grace",
        email: "grace@example.com",
        role: "operator",
        allProjects: false,
        projects: ["0199b3c0-0a1b-7c2d-8e3f-405162738495"],
        disabled: false,
        lockedUntil: null,
        lastLoginAt: null,
        createdBy: "administrator",
        createdAt: "2026-11-22T10:15:00.000Z",
        updatedAt: "2026-11-22T10:15:00.000Z",
      },
    ],
  },
);

function toWire(user: UserView): Static<typeof UserWire> {
  const { id, organizationId, username, email, role, createdBy } = user;
  return {
    ...{ id, organizationId, username, email, role, createdBy },
    ...toProjectsWire(user.projects),
    disabled: user.disabledAt !== null,
    lockedUntil: user.lockedUntil?.toISOString() ?? null,
    lastLoginAt: user.lastLoginAt?.toISOString() ?? null,
    createdAt: user.createdAt.toISOString(),
    updatedAt: user.updatedAt.toISOString(),
  };
}

const Params = Type.Object({ id: Uuid });
const tags = ["users"];
const read = { scopes: ["user:read"] } as const;
const write = { scopes: ["user:write"] } as const;

/** Users, managed by administrators; how they log in stands with the project API. */
export const userRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  const { users } = services;

  app.post(
    "/users",
    {
      config: write,
      schema: {
        operationId: "createUser",
        summary: "Create a user",
        description: "A viewer of all that the caller reaches, where nothing else is said.",
        tags,
        body: CreateBody,
        response: { 201: ref(UserWire), ...problems(409) },
      },
    },
    async ({ principal, body }, reply) => {
      const user = await users.create(principal, body);
      reply.code(201).header("location", `/api/v1/users/${user.id}`);
      return toWire(user);
    },
  );

  app.get(
    "/users",
    {
      config: read,
      schema: {
        operationId: "listUsers",
        summary: "List users",
        description: "A caller that is limited to projects sees those that reach no others.",
        tags,
        querystring: Type.Object(PageQuery),
        response: {
          200: Type.Object({
            items: Type.Array(ref(UserWire)),
            nextCursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, query }) => {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const found = await users.list(principal, limit + 1, decodeCursor(query.cursor, ID_POSITION));
      const { items, nextCursor } = page(found, limit, ({ id }) => id);
      return { items: items.map(toWire), nextCursor };
    },
  );

  app.get(
    "/users/:id",
    {
      config: read,
      schema: {
        operationId: "getUser",
        summary: "Read one user",
        tags,
        params: Params,
        response: { 200: ref(UserWire), ...problems() },
      },
    },
    async ({ principal, params }) => toWire(await users.get(principal, params.id)),
  );

  app.patch(
    "/users/:id",
    {
      config: write,
      schema: {
        operationId: "updateUser",
        summary: "Change a user",
        description:
          "Changes what is given. Whatever takes something away ends the user's sessions and tokens. The last owner stays one.",
        tags,
        params: Params,
        body: UpdateBody,
        response: { 200: ref(UserWire), ...problems(409) },
      },
    },
    async ({ principal, params, body }) => toWire(await users.update(principal, params.id, body)),
  );

  app.delete(
    "/users/:id",
    {
      config: write,
      schema: {
        operationId: "deleteUser",
        summary: "Delete a user",
        description: "With its sessions and tokens. The last owner stays.",
        tags,
        params: Params,
        response: { 204: Type.Null({ description: "Deleted." }), ...problems(409) },
      },
    },
    async ({ principal, params }, reply) => {
      await users.delete(principal, params.id);
      return reply.code(204).send(null);
    },
  );

  app.post(
    "/users/:id/password",
    {
      config: write,
      schema: {
        operationId: "resetUserPassword",
        summary: "Give a user a new password",
        description: "Ends the user's sessions and tokens, and a lock-out.",
        tags,
        params: Params,
        body: PasswordBody,
        response: { 204: Type.Null({ description: "Changed." }), ...problems() },
      },
    },
    async ({ principal, params, body }, reply) => {
      await users.resetPassword(principal, params.id, body.password);
      return reply.code(204).send(null);
    },
  );
};
