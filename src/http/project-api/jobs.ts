import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import type { PipelineInput } from "../../domain/jobs/jobs.js";
import { OVERLAPS } from "../../domain/schedules/engine.js";
import { acceptWork } from "../accepted.js";
import { PageQuery } from "../pagination.js";
import { PreferHeader } from "../prefer.js";
import { ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import { linkNextPage } from "./paging.js";
import { afterNumber, ItemParams, MAX_NUMBER, numberOf, ProjectParams } from "./params.js";
import { selectedStreams } from "./streams.js";
import {
  CONNECTION_EXAMPLES,
  ConfigBody,
  ConnectionBody,
  envelope,
  type JobPresentation,
  JobWire,
  listEnvelope,
  Name,
  parseJsonField,
  projectFailures,
  STARTED,
  startedAnswer,
  toConnectionInput,
  toJobWire,
  withExample,
} from "./wire.js";

const JobBody = Type.Object({
  name: Name,
  source: ConnectionBody,
  destination: ConnectionBody,
  frequency: Type.Optional(
    Type.String({ maxLength: 200, description: "Cron expression, @daily and so on; empty: manual." }),
  ),
  time_zone: Type.Optional(
    Type.String({
      maxLength: 64,
      description: "IANA name of the time zone in which `frequency` is read; at first UTC.",
    }),
  ),
  overlap: Type.Optional(
    Type.Enum([...OVERLAPS], {
      description: "What happens to a tick while a run is active; at first `skip`.",
    }),
  ),
  streams_config: ConfigBody,
  activate: Type.Optional(Type.Boolean()),
});

const tags = ["jobs"];

const JOB_EXAMPLE = {
  name: "customers to warehouse",
  source: CONNECTION_EXAMPLES.source,
  destination: CONNECTION_EXAMPLES.destination,
  frequency: "",
  streams_config: { streams: [{ name: "customers", sync_mode: "full_refresh" }] },
  activate: true,
};

function toPipeline(body: Static<typeof JobBody>, activeBefore: boolean): PipelineInput {
  const { value } = parseJsonField(body.streams_config, "/streams_config");
  const kept: JobPresentation = { streamsConfig: body.streams_config };
  return {
    name: body.name,
    source: toConnectionInput(body.source, "/source"),
    destination: toConnectionInput(body.destination, "/destination"),
    frequency: body.frequency ?? "",
    timeZone: body.time_zone,
    overlap: body.overlap,
    streams: selectedStreams(value),
    active: body.activate ?? activeBefore,
    presentation: { project: kept },
  };
}

/** Jobs as sync pipelines: a source, a destination, a schedule. */
export const jobRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  app.post(
    "/jobs",
    {
      config: { scopes: ["job:write"] },
      schema: {
        operationId: "createProjectJob",
        summary: "Create a job",
        description:
          "Source and destination inline: a name that exists with the same type, version and config is reused, an unknown one is created, any other difference is a 409.",
        tags,
        params: ProjectParams,
        body: withExample(JobBody, JOB_EXAMPLE),
        response: { 200: envelope(ref(JobWire)), ...projectFailures(409) },
      },
    },
    async ({ principal, params, body }) => {
      const project = await services.projects.find(principal, params.projectid);
      return toJobWire(await services.jobs.create(principal, project, toPipeline(body, true)));
    },
  );

  app.get(
    "/jobs",
    {
      config: { scopes: ["job:read"] },
      schema: {
        operationId: "listProjectJobs",
        summary: "List jobs",
        tags,
        params: ProjectParams,
        querystring: Type.Object({
          ...PageQuery,
          source_id: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_NUMBER })),
          dest_id: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_NUMBER })),
        }),
        response: { 200: listEnvelope(Type.Array(ref(JobWire))), ...projectFailures() },
      },
    },
    async (request, reply) => {
      const { principal, params, query } = request;
      const project = await services.projects.find(principal, params.projectid);
      const page = {
        limit: query.limit === undefined ? null : query.limit + 1,
        after: afterNumber(query.cursor),
      };
      const jobs = await services.jobs.list(project, page, {
        ...(query.source_id === undefined ? {} : { sourceNumber: query.source_id }),
        ...(query.dest_id === undefined ? {} : { destinationNumber: query.dest_id }),
      });
      return linkNextPage(request.url, reply, jobs, query.limit, ({ number }) => number).map(toJobWire);
    },
  );

  app.get(
    "/jobs/:id",
    {
      config: { scopes: ["job:read"] },
      schema: {
        operationId: "getProjectJob",
        summary: "Read one job",
        description: 'The text\'s filters `/jobs/source_id="1"` and `/jobs/dest_id="1"` answer a list here.',
        tags,
        params: ItemParams,
        response: {
          200: envelope(Type.Union([ref(JobWire), Type.Array(ref(JobWire))])),
          ...projectFailures(),
        },
      },
    },
    async ({ principal, params }) => {
      const project = await services.projects.find(principal, params.projectid);
      const filter = /^(source|dest)_id="?(\d{1,10})"?$/.exec(params.id);
      if (filter === null) return toJobWire(await services.jobs.get(project, numberOf(params.id, "job")));
      const number = numberOf(filter[2] ?? "", "job");
      const uses = filter[1] === "source" ? { sourceNumber: number } : { destinationNumber: number };
      return (await services.jobs.list(project, { limit: null, after: null }, uses)).map(toJobWire);
    },
  );

  app.put(
    "/jobs/:id",
    {
      config: { scopes: ["job:write"] },
      schema: {
        operationId: "updateProjectJob",
        summary: "Replace a job",
        description: "A new version; runs that have begun keep theirs.",
        tags,
        params: ItemParams,
        body: withExample(JobBody, JOB_EXAMPLE),
        response: { 200: envelope(ref(JobWire)), ...projectFailures(409) },
      },
    },
    async ({ principal, params, body }) => {
      const project = await services.projects.find(principal, params.projectid);
      const before = await services.jobs.get(project, numberOf(params.id, "job"));
      return toJobWire(
        await services.jobs.update(principal, project, before.number, toPipeline(body, before.active)),
      );
    },
  );

  app.delete(
    "/jobs/:id",
    {
      config: { scopes: ["job:write"] },
      schema: {
        operationId: "deleteProjectJob",
        summary: "Delete a job",
        description: "Refused while it runs. What it wrote stays.",
        tags,
        params: ItemParams,
        response: { 200: envelope(Type.Object({ name: Type.String() })), ...projectFailures(409) },
      },
    },
    async ({ principal, params }) => {
      const project = await services.projects.find(principal, params.projectid);
      return { name: await services.jobs.delete(principal, project, numberOf(params.id, "job")) };
    },
  );

  app.post(
    "/jobs/:id/sync",
    {
      config: { scopes: ["job:write"], idempotency: "transaction" },
      schema: {
        operationId: "syncProjectJob",
        summary: "Start a run",
        description: "`Operation-Location` names the operation to poll; 409 names the one that runs already.",
        tags,
        params: ItemParams,
        headers: PreferHeader,
        response: { 200: envelope(Type.Null(), STARTED), ...projectFailures(409) },
      },
    },
    async (request, reply) => {
      const { principal, params } = request;
      await acceptWork(services, request, reply, startedAnswer, async (onAccept) => {
        const project = await services.projects.find(principal, params.projectid);
        const job = await services.jobs.get(project, numberOf(params.id, "job"));
        return services.syncs.start(principal, job.id, onAccept);
      });
      return null;
    },
  );

  app.post(
    "/jobs/:id/activate",
    {
      config: { scopes: ["job:write"] },
      schema: {
        operationId: "activateProjectJob",
        summary: "Turn a job's schedule on or off",
        tags,
        params: ItemParams,
        body: Type.Object({ activate: Type.Boolean() }),
        response: { 200: envelope(Type.Object({ activate: Type.Boolean() })), ...projectFailures() },
      },
    },
    async ({ principal, params, body }) => {
      const project = await services.projects.find(principal, params.projectid);
      await services.jobs.setActive(principal, project, numberOf(params.id, "job"), body.activate);
      return { activate: body.activate };
    },
  );
};
