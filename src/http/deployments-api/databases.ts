import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import type { DeploymentInput } from "../../domain/deployments/deployments.js";
import { STATES } from "../../domain/deployments/state.js";
import type { DeploymentView } from "../../domain/deployments/view.js";
import { isDone } from "../../operations/operation.js";
import { invalid } from "../../platform/errors.js";
import { acceptWork } from "../accepted.js";
import { decodeCursor, ID_POSITION, MAX_LIMIT, PageQuery } from "../pagination.js";
import { PreferHeader } from "../prefer.js";
import { ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import {
  CreatedDatabaseWire,
  DatabaseStatusWire,
  DatabaseWire,
  toDatabaseWire,
  toStatusWire,
} from "./databases-wire.js";
import { DatabaseParams, EngineParams, idInQuery, type RouteForm, refOf } from "./references.js";
import { BODIES, deploymentsFailures, linkNextPage, NextPage } from "./wire.js";

export const Name = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: "^[^\\p{C}\\s]([^\\p{C}]*[^\\p{C}\\s])?$",
});
export const Environment = Type.String({
  minLength: 1,
  maxLength: 200,
  description: "Id, slug or number of an environment (project).",
});
const Choice = Type.String({ minLength: 1, maxLength: 100 });
const Extras = Type.Union([Choice, Type.Array(Choice, { maxItems: 20 })], {
  description: "Kinds that the engine provides (`GET /deployments/regions`).",
});

const CreateBody = Type.Object(
  {
    name: Name,
    plan: Choice,
    version: Type.Optional(Type.String({ ...Choice, description: "Default: the newest." })),
    region: Type.Optional(Type.String({ ...Choice, description: "Default: the only one." })),
    awsRegion: Type.Optional(Type.String({ ...Choice, description: "Another name of `region`." })),
    extras: Type.Optional(Extras),
    enabledExtrasKinds: Type.Optional(Type.Union(Extras.anyOf, { description: "Another name of `extras`." })),
    environmentId: Type.Optional(
      Type.String({
        ...Environment,
        description: "Id, slug or number. Default: the only one that the caller reaches, or `default`.",
      }),
    ),
  },
  {
    additionalProperties: false,
    examples: [{ name: "test_db", plan: "ds1", region: "local", environmentId: "default" }],
  },
);

function toInput(engine: string, body: Static<typeof CreateBody>): DeploymentInput {
  const { name, plan, version, environmentId } = body;
  const region = either("region", body.region, "awsRegion", body.awsRegion);
  const extras = either("extras", body.extras, "enabledExtrasKinds", body.enabledExtrasKinds);
  return { engine, name, plan, version, region, extras: [extras ?? []].flat(), project: environmentId };
}

/** Two names of the same: whoever uses both means one thing. */
function either<T>(name: string, value: T | undefined, alias: string, other: T | undefined): T | undefined {
  if (value === undefined || other === undefined || JSON.stringify(value) === JSON.stringify(other)) {
    return value ?? other;
  }
  const message = `says something else than ${name}: send one of them`;
  throw invalid(`/${alias} ${message}`, [{ path: `/${alias}`, message }]);
}

const tags = ["databases"];

const Filter = {
  ...PageQuery,
  environmentId: Type.Optional(Type.String({ maxLength: 64, description: "Id of an environment." })),
  environmentType: Type.Optional(
    Type.Array(Type.Enum(["development", "staging", "production"]), { maxItems: 3 }),
  ),
  state: Type.Optional(
    Type.Enum([...STATES], { description: "Default: all but those that are terminated." }),
  ),
  name: Type.Optional(Type.String({ maxLength: 100 })),
};

/** Creates databases: `POST /deployments/databases/{engine}`. */
export const createDatabaseRoute: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.post(
    "/deployments/databases/:engine",
    {
      config: { scopes: ["deployment:write"], idempotency: "transaction" },
      schema: {
        operationId: "createDatabase",
        summary: "Create a database",
        description:
          "A server of its own, with an address, a password and the limits of its plan. Answers at once; it is `running` when the operation has finished.",
        tags,
        params: Type.Object({ engine: Type.String({ maxLength: 100, examples: ["graphneo"] }) }),
        headers: PreferHeader,
        consumes: BODIES,
        body: CreateBody,
        response: {
          200: { ...ref(CreatedDatabaseWire), description: "Created within the time of `Prefer: wait=N`." },
          202: ref(CreatedDatabaseWire),
          ...deploymentsFailures(409),
        },
      },
    },
    async (request, reply) => {
      const { principal, params, body } = request;
      const { service } = services.deployments;
      let database: DeploymentView | null = null;
      const answer = (operationId: string) => ({
        database: database === null ? null : toDatabaseWire(database),
        operationId,
      });
      const operation = await acceptWork(
        services,
        request,
        reply,
        ({ id }) => ({ status: 202, body: answer(id) }),
        async (onAccept) => {
          const accepted = await service.create(
            principal,
            toInput(params.engine, body),
            async (tx, made, created) => {
              database = created;
              await onAccept?.(tx, made);
            },
          );
          return accepted.operation;
        },
      );
      const done = isDone(operation.status);
      if (done) database = await service.get(principal, { id: operation.resourceId, engine: null });
      return reply.code(done ? 200 : 202).send(answer(operation.id) as Static<typeof CreatedDatabaseWire>);
    },
  );
};

/** Reads databases, in one of the forms of the routes. */
export const databaseRoutes: FastifyPluginAsyncTypebox<{ services: Services; form: RouteForm }> = async (
  app,
  { services, form },
) => {
  const hide = !form.shown;
  const { service } = services.deployments;
  const config = { scopes: ["deployment:read"] } as const;

  app.get(
    "/",
    {
      config,
      schema: {
        hide,
        operationId: "listDatabases",
        summary: "List databases",
        description: `Of one engine, or of all (\`GET /deployments/databases\`). At most ${MAX_LIMIT}; a \`Link\` header leads to more.`,
        tags,
        params: EngineParams,
        querystring: Type.Object(Filter),
        response: { 200: { ...Type.Array(ref(DatabaseWire)), headers: NextPage }, ...deploymentsFailures() },
      },
    },
    async (request, reply) => {
      const { principal, params, query } = request;
      const { limit = MAX_LIMIT, cursor, environmentId, environmentType, state, name } = query;
      const filter = { engine: params.engine, environments: environmentType, state, name };
      const after = decodeCursor(cursor, ID_POSITION);
      const projectId = environmentId === undefined ? undefined : idInQuery(environmentId, "environmentId");
      const found = await service.list(principal, { ...filter, projectId }, limit + 1, after);
      return linkNextPage(request.url, reply, found, limit).map(toDatabaseWire);
    },
  );

  app.get(
    "/:id",
    {
      config,
      schema: {
        hide,
        operationId: "getDatabase",
        summary: "Read one database",
        description:
          "Also one that is terminated. `reveal=true` shows the password in `connectionUrl`; it needs `deployment:write`, and is written to the audit log.",
        tags,
        params: DatabaseParams,
        querystring: Type.Object({ reveal: Type.Optional(Type.Boolean({ default: false })) }),
        response: { 200: ref(DatabaseWire), ...deploymentsFailures() },
      },
    },
    async ({ principal, params, query }, reply) => {
      if (query.reveal !== true) return toDatabaseWire(await service.get(principal, refOf(params)));
      reply.header("cache-control", "no-store");
      return toDatabaseWire(await service.reveal(principal, refOf(params)));
    },
  );

  app.get(
    "/:id/status",
    {
      config,
      schema: {
        hide,
        operationId: "getDatabaseStatus",
        summary: "Read the status of a database",
        tags,
        params: DatabaseParams,
        response: { 200: ref(DatabaseStatusWire), ...deploymentsFailures() },
      },
    },
    async ({ principal, params }) => toStatusWire(await service.get(principal, refOf(params))),
  );
};
