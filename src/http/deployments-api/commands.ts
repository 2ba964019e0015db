import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type Static, type TObject, Type } from "typebox";
import type { Principal } from "../../auth/principal.js";
import type { TopicScope } from "../../auth/scopes.js";
import type { DeploymentRef } from "../../domain/deployments/access.js";
import type { ArchiveCommands } from "../../domain/deployments/archive-commands.js";
import type { Commands } from "../../domain/deployments/commands.js";
import type { OnAccept } from "../../domain/jobs/sync.js";
import { isDone, type Operation } from "../../operations/operation.js";
import { invalid } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import { acceptWork } from "../accepted.js";
import { PreferHeader } from "../prefer.js";
import { ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import { Environment, Name } from "./databases.js";
import { AcceptedWire, DatabaseOperationWire, toDatabaseOperationWire } from "./operations-wire.js";
import { DatabaseParams, idInBody, type RouteForm, refOf } from "./references.js";
import { BODIES, deploymentsFailures } from "./wire.js";

/** What a command is asked with, beside its body. */
interface Asked {
  readonly commands: Commands;
  readonly archives: ArchiveCommands;
  readonly principal: Principal;
  readonly ref: DeploymentRef;
  /** Of what the command makes: a clone, a snapshot, an export. */
  readonly madeId: string;
  readonly onAccept: OnAccept | undefined;
}

/** One command, as a route. */
interface CommandRoute<B extends TObject> {
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly scope: TopicScope;
  readonly body: B;
  /** Under which name the answer tells the id of what the command makes. */
  readonly makes?: "databaseId" | "snapshotId" | "exportId";
  readonly accept: (asked: Asked, body: Static<B>) => Promise<Operation>;
}

const command = <B extends TObject>(route: CommandRoute<B>): CommandRoute<B> => route;
const fields = <P extends Parameters<typeof Type.Object>[0]>(properties: P, example: object) =>
  Type.Object(properties, { additionalProperties: false, examples: [example] });

const Nothing = Type.Object({}, { additionalProperties: false });
const Id = Type.String({ minLength: 1, maxLength: 64 });
const write = "deployment:write";
const DESTRUCTIVE = "In a production environment it needs `production:destructive` too.";

const PAUSE = command({
  path: "/pause",
  operationId: "pauseDatabase",
  summary: "Pause a database",
  description: "Saves, stops the server and keeps the data. It uses no memory then.",
  scope: write,
  body: Nothing,
  accept: ({ commands, principal, ref, onAccept }) => commands.pause(principal, ref, onAccept),
});

const RESUME = command({
  path: "/resume",
  operationId: "resumeDatabase",
  summary: "Resume a paused database",
  description: "On the same address, with the same data.",
  scope: write,
  body: Nothing,
  accept: ({ commands, principal, ref, onAccept }) => commands.resume(principal, ref, onAccept),
});

const RESTART = command({
  path: "/restart",
  operationId: "restartDatabase",
  summary: "Restart a database",
  scope: write,
  body: fields(
    {
      reset: Type.Optional(
        Type.Boolean({ description: "Also forget failed starts: nothing waits for a next try." }),
      ),
    },
    { reset: false },
  ),
  accept: ({ commands, principal, ref, onAccept }, { reset = false }) =>
    commands.restart(principal, ref, reset, onAccept),
});

const CLONE = command({
  path: "/clone",
  operationId: "cloneDatabase",
  summary: "Make a second database from a consistent copy",
  description: "The first serves meanwhile. The second has an address and a password of its own.",
  scope: write,
  body: fields(
    {
      name: Name,
      environmentId: Type.Optional(Environment),
      plan: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
      region: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
    },
    { name: "test_db_copy" },
  ),
  makes: "databaseId",
  accept: ({ commands, principal, ref, madeId, onAccept }, { environmentId, ...input }) =>
    commands.clone(principal, ref, { ...input, id: madeId, project: environmentId }, onAccept),
});

const SNAPSHOT = command({
  path: "/snapshot",
  operationId: "snapshotDatabase",
  summary: "Store a consistent copy of the data",
  description: "The plan says how many are kept; the oldest go.",
  scope: "snapshot:write",
  body: Nothing,
  makes: "snapshotId",
  accept: ({ archives, principal, ref, madeId, onAccept }) =>
    archives.snapshot(principal, ref, madeId, onAccept),
});

const RESTORE = command({
  path: "/restore",
  operationId: "restoreDatabase",
  summary: "Put a snapshot in the place of the data",
  description: `Without \`databaseId\`, a snapshot of any database of the same engine is put into this one; with it, a snapshot of this database into that one. ${DESTRUCTIVE}`,
  scope: write,
  body: fields(
    { snapshotId: Id, databaseId: Type.Optional(Id) },
    { snapshotId: "0199b3c4-9c00-7c11-8d22-9e33af44b066" },
  ),
  accept: ({ archives, principal, ref, onAccept }, { snapshotId, databaseId }) =>
    archives.restore(
      principal,
      ref,
      {
        snapshotId: idInBody(snapshotId, "snapshotId"),
        databaseId: databaseId === undefined ? undefined : idInBody(databaseId, "databaseId"),
      },
      onAccept,
    ),
});

const EXPORT = command({
  path: "/export",
  operationId: "exportDatabase",
  summary: "Make an archive of the data to download",
  description: "It can be downloaded for a day, once the operation has finished.",
  scope: write,
  body: Nothing,
  makes: "exportId",
  accept: ({ archives, principal, ref, madeId, onAccept }) =>
    archives.export(principal, ref, madeId, onAccept),
});

const CONNECTION_URL = command({
  path: "/connection-url",
  operationId: "changeConnectionUrl",
  summary: "Exchange the connection URLs of two databases, or change the password",
  description: `With \`databaseId\` the two, of one engine and region, exchange address and password: clients of either reach the other once they reconnect. ${DESTRUCTIVE} With \`rotatePassword\` the database gets a new password; \`reveal=true\` shows it.`,
  scope: write,
  body: fields(
    { databaseId: Type.Optional(Id), rotatePassword: Type.Optional(Type.Boolean()) },
    { databaseId: "0199b3c4-7b00-7c11-8d22-9e33af44b077" },
  ),
  accept: ({ commands, principal, ref, onAccept }, { databaseId, rotatePassword = false }) => {
    if ((databaseId !== undefined) === rotatePassword) {
      throw invalid("send either databaseId or rotatePassword: true", [
        { path: "/databaseId", message: "must be there, or rotatePassword: true, and not both" },
      ]);
    }
    if (databaseId === undefined) return commands.rotatePassword(principal, ref, onAccept);
    return commands.exchange(principal, ref, idInBody(databaseId, "databaseId"), onAccept);
  },
});

const PLAN = command({
  path: "/plan/change",
  operationId: "changeDatabasePlan",
  summary: "Change the plan of a database",
  scope: write,
  body: fields({ targetPlanName: Type.String({ minLength: 1, maxLength: 100 }) }, { targetPlanName: "ds2" }),
  accept: ({ commands, principal, ref, onAccept }, { targetPlanName }) =>
    commands.resize(principal, ref, targetPlanName, onAccept),
});

const FinalSnapshot = Type.Optional(
  Type.Boolean({ description: "Default: true. Store the data once more before it goes." }),
);

const TERMINATE = command({
  path: "/terminate",
  operationId: "terminateDatabase",
  summary: "Terminate a database",
  description: `Stops the server and removes the data, after a last snapshot; its snapshots stay for as long as the plan says. ${DESTRUCTIVE}`,
  scope: write,
  body: fields({ finalSnapshot: FinalSnapshot }, { finalSnapshot: true }),
  accept: ({ commands, principal, ref, onAccept }, { finalSnapshot = true }) =>
    commands.terminate(principal, ref, finalSnapshot, onAccept),
});

const tags = ["databases"];

/** The commands, in one of the forms of the routes: by PUT, and by POST as well. */
export async function commandRoutes(
  app: FastifyInstance,
  { services, form }: { services: Services; form: RouteForm },
): Promise<void> {
  const add = <B extends TObject>(route: CommandRoute<B>): void => addCommand(app, services, form, route);
  for (const route of [PAUSE, RESUME, SNAPSHOT, EXPORT]) add(route);
  add(RESTART);
  add(CLONE);
  add(RESTORE);
  add(CONNECTION_URL);
  add(PLAN);
  add(TERMINATE);
  const schema = {
    ...schemaOf(TERMINATE),
    hide: !form.shown,
    operationId: "deleteDatabase",
    summary: "Terminate a database, as `/terminate` does",
    querystring: Type.Object({ finalSnapshot: FinalSnapshot }),
  };
  app.delete("/:id", { config: configOf(TERMINATE), schema }, (request, reply) =>
    answerCommand(services, request, reply, TERMINATE, request.query as Static<typeof TERMINATE.body>),
  );
}

/** Whatever its body. */
type AnyRoute = Pick<CommandRoute<TObject>, "scope" | "operationId" | "summary" | "description">;

function addCommand<B extends TObject>(
  app: FastifyInstance,
  services: Services,
  form: RouteForm,
  route: CommandRoute<B>,
): void {
  const config = configOf(route);
  const handler = (request: FastifyRequest, reply: FastifyReply) =>
    answerCommand(services, request, reply, route, request.body as Static<B>);
  const schema = { ...schemaOf(route), consumes: BODIES, body: route.body };
  app.put(`/:id${route.path}`, { config, schema: { ...schema, hide: !form.shown } }, handler);
  app.post(`/:id${route.path}`, { config, schema: { ...schema, hide: true } }, handler);
}

function configOf({ scope }: AnyRoute) {
  return { scopes: [scope], idempotency: "transaction" } as const;
}

function schemaOf({ operationId, summary, description }: AnyRoute) {
  return {
    ...{ operationId, summary, ...(description === undefined ? {} : { description }), tags },
    params: DatabaseParams,
    headers: PreferHeader,
    response: ACCEPTED,
  };
}

/** Answers of what starts an operation. */
export const ACCEPTED = {
  200: { ...ref(DatabaseOperationWire), description: "Ended within the time of `Prefer: wait=N`." },
  202: ref(AcceptedWire),
  ...deploymentsFailures(409),
};

async function answerCommand<B extends TObject>(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  { makes, accept }: CommandRoute<B>,
  body: Static<B>,
): Promise<FastifyReply> {
  const { commands, archives } = services.deployments;
  const database = refOf(request.params as Static<typeof DatabaseParams>);
  const madeId = newId();
  const made = makes === undefined ? {} : { [makes]: madeId };
  return answerAccepted(services, request, reply, made, (onAccept) =>
    accept({ commands, archives, principal: request.principal, ref: database, madeId, onAccept }, body),
  );
}

/** 202 with the operation's id; 200 with the operation where it ends within the time that the client waits. */
export async function answerAccepted(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  made: Readonly<Record<string, string>>,
  start: (onAccept?: OnAccept) => Promise<Operation>,
): Promise<FastifyReply> {
  const accepted = ({ id }: Operation) => ({ status: 202 as const, body: { operationId: id, ...made } });
  const operation = await acceptWork(services, request, reply, accepted, start);
  if (!isDone(operation.status)) return reply.code(202).send(accepted(operation).body);
  return reply.code(200).send({ ...toDatabaseOperationWire(operation, Date.now()), ...made });
}
