import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import type { Role } from "../../domain/connections/config.js";
import type { JobView } from "../../domain/jobs/view.js";
import { PageQuery } from "../pagination.js";
import type { Services } from "../services.js";
import { linkNextPage } from "./paging.js";
import { afterNumber, ItemParams, numberOf, ProjectParams } from "./params.js";
import {
  CONNECTION_EXAMPLES,
  ConfigWire,
  ConnectionBody,
  ConnectionWire,
  envelope,
  inForm,
  jobOfConnection,
  listEnvelope,
  projectFailures,
  toConnectionInput,
  toConnectionWire,
  toJobOfConnection,
  withExample,
} from "./wire.js";

export interface ConnectionRoutesOptions {
  readonly services: Services;
  readonly role: Role;
}

/** `/sources` and `/destinations`: the same routes, each with the other end's name in its jobs. */
export const connectionRoutes: FastifyPluginAsyncTypebox<ConnectionRoutesOptions> = async (
  app,
  { services, role },
) => {
  const path = `/${role}s` as const;
  const tags = [path.slice(1)];
  const read = { scopes: [role === "source" ? "source:read" : "destination:read"] } as const;
  const write = { scopes: [role === "source" ? "source:write" : "destination:write"] } as const;
  const Title = role === "source" ? "Source" : "Destination";
  const other = role === "source" ? "dest_name" : "source_name";
  const Item = Type.Object({ ...ConnectionWire.properties, jobs: Type.Array(jobOfConnection(other)) });
  const Echo = Type.Object({
    name: Type.String(),
    type: Type.String(),
    version: Type.String(),
    config: ConfigWire,
  });

  const jobsOf = (jobs: readonly JobView[], number: number) =>
    jobs.filter((job) => job[role]?.number === number).map((job) => toJobOfConnection(job, other));

  app.post(
    path,
    {
      config: write,
      schema: {
        operationId: `create${Title}`,
        summary: `Create a ${role}`,
        tags,
        params: ProjectParams,
        body: withExample(ConnectionBody, CONNECTION_EXAMPLES[role]),
        response: { 200: envelope(ConnectionWire), ...projectFailures(409) },
      },
    },
    async ({ principal, params, body }) => {
      const project = await services.projects.find(principal, params.projectid);
      const connection = await services.connections.create(principal, project, role, toConnectionInput(body));
      return toConnectionWire(connection);
    },
  );

  app.get(
    path,
    {
      config: read,
      schema: {
        operationId: `list${Title}s`,
        summary: `List ${role}s with their jobs`,
        description: "All of them, or pages by `limit` and `cursor` with a `Link` header.",
        tags,
        params: ProjectParams,
        querystring: Type.Object(PageQuery),
        response: { 200: listEnvelope(Type.Array(Item)), ...projectFailures() },
      },
    },
    async (request, reply) => {
      const { principal, params, query } = request;
      const project = await services.projects.find(principal, params.projectid);
      const page = {
        limit: query.limit === undefined ? null : query.limit + 1,
        after: afterNumber(query.cursor),
      };
      const found = await services.connections.list(project, role, page);
      const items = linkNextPage(request.url, reply, found, query.limit, ({ number }) => number);
      const jobs = await services.jobs.using(
        project,
        items.map(({ id }) => id),
      );
      return items.map((item) => ({ ...toConnectionWire(item), jobs: jobsOf(jobs, item.number) }));
    },
  );

  app.get(
    `${path}/:id`,
    {
      config: read,
      schema: {
        operationId: `get${Title}`,
        summary: `Read one ${role}`,
        tags,
        params: ItemParams,
        response: { 200: envelope(Item), ...projectFailures() },
      },
    },
    async ({ principal, params }) => {
      const project = await services.projects.find(principal, params.projectid);
      const connection = await services.connections.get(project, role, numberOf(params.id, role));
      const jobs = await services.jobs.using(project, [connection.id]);
      return { ...toConnectionWire(connection), jobs: jobsOf(jobs, connection.number) };
    },
  );

  app.put(
    `${path}/:id`,
    {
      config: write,
      schema: {
        operationId: `update${Title}`,
        summary: `Replace a ${role}`,
        description:
          "A masked secret sent back keeps the stored one. Runs that have begun keep what they read.",
        tags,
        params: ItemParams,
        body: withExample(ConnectionBody, CONNECTION_EXAMPLES[role]),
        response: { 200: envelope(Echo), ...projectFailures(409) },
      },
    },
    async ({ principal, params, body }) => {
      const project = await services.projects.find(principal, params.projectid);
      const number = numberOf(params.id, role);
      const input = toConnectionInput(body);
      const { name, type, version, config, configForm } = await services.connections.update(
        principal,
        project,
        role,
        number,
        input,
      );
      return { name, type, version, config: inForm(config, configForm) as typeof body.config };
    },
  );

  app.delete(
    `${path}/:id`,
    {
      config: write,
      schema: {
        operationId: `delete${Title}`,
        summary: `Delete a ${role}`,
        description: "Refused while jobs use it, naming them.",
        tags,
        params: ItemParams,
        response: { 200: envelope(Type.Object({ name: Type.String() })), ...projectFailures(409) },
      },
    },
    async ({ principal, params }) => {
      const project = await services.projects.find(principal, params.projectid);
      const { name } = await services.connections.delete(principal, project, role, numberOf(params.id, role));
      return { name };
    },
  );
};
