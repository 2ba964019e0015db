import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { invalid, notFound } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import { acceptWork } from "../accepted.js";
import { DEFAULT_LIMIT, decodeCursor, ID_POSITION, PageQuery, page } from "../pagination.js";
import { PreferHeader } from "../prefer.js";
import { problems, ref, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { acceptedAnswer } from "./operations-commands.js";
import { JobWire, OperationWire, Overlap, RunWire, toJobWire, toOperationWire, toRunWire } from "./wire.js";

const Id = Type.Object({ id: Uuid });
const ScheduleBody = Type.Object(
  {
    schedule: Type.Optional(Type.Union([Type.String({ maxLength: 200 }), Type.Null()])),
    timeZone: Type.Optional(Type.String({ maxLength: 64 })),
    overlap: Type.Optional(Overlap),
    scheduleActive: Type.Optional(Type.Boolean()),
  },
  {
    additionalProperties: false,
    examples: [{ schedule: "0 3 * * *", timeZone: "Europe/Berlin", overlap: "queue" }],
  },
);
const NextCursor = Type.Union([Type.String(), Type.Null()]);

/** The id of a path; what is no id names nothing. */
export function jobIdOf(text: string): string {
  const id = parseId(text);
  if (id === null) throw notFound("job");
  return id;
}

/** `tag=name:value`, as often as wanted: all must hold. */
function parseTags(tags: readonly string[]): (readonly [name: string, value: string])[] {
  return tags.map((tag) => {
    const colon = tag.indexOf(":");
    if (colon < 1)
      throw invalid(`tag "${tag}" must be name:value`, [
        { path: "/query/tag", message: "must be name:value" },
      ]);
    return [tag.slice(0, colon), tag.slice(colon + 1)];
  });
}

export const jobRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  app.get(
    "/jobs",
    {
      config: { scopes: ["job:read"] },
      schema: {
        operationId: "listJobs",
        summary: "List jobs",
        description: "Every job that the caller reaches, whichever dialect it was made through.",
        tags: ["jobs"],
        querystring: Type.Object({
          ...PageQuery,
          processing: Type.Optional(Type.Enum(["BATCH", "STREAMING"])),
          execution: Type.Optional(Type.Enum(["SYNCHRONOUS", "ASYNCHRONOUS"])),
          state: Type.Optional(Type.Enum([...JobWire.properties.state.enum])),
          tag: Type.Optional(
            Type.Array(Type.String({ maxLength: 300 }), { maxItems: 10, description: "name:value" }),
          ),
        }),
        response: {
          200: Type.Object({ items: Type.Array(ref(JobWire)), nextCursor: NextCursor }),
          ...problems(),
        },
      },
    },
    async ({ principal, query }) => {
      const { limit = DEFAULT_LIMIT, cursor, tag = [], ...filter } = query;
      const after = decodeCursor(cursor, ID_POSITION);
      const jobs = await services.jobs.listAll(
        principal,
        { ...filter, tags: parseTags(tag) },
        limit + 1,
        after,
      );
      const { items, nextCursor } = page(jobs, limit, ({ id }) => id);
      return { items: items.map(toJobWire), nextCursor };
    },
  );

  app.get(
    "/jobs/:id",
    {
      config: { scopes: ["job:read"] },
      schema: {
        operationId: "getJob",
        summary: "Read one job",
        tags: ["jobs"],
        params: Id,
        response: { 200: ref(JobWire), ...problems() },
      },
    },
    async ({ principal, params }) => toJobWire(await services.jobs.getAny(principal, jobIdOf(params.id))),
  );

  app.patch(
    "/jobs/:id/schedule",
    {
      config: { scopes: ["job:write"] },
      schema: {
        operationId: "changeJobSchedule",
        summary: "Change when a job runs by itself",
        description:
          "No new version; what is absent stays. Ticks that were missed while no worker ran are made up for by one run. A time that summer time leaves out comes an hour later that day, one that comes twice counts once.",
        tags: ["jobs"],
        params: Id,
        body: ScheduleBody,
        response: { 200: ref(JobWire), ...problems() },
      },
    },
    async ({ principal, params, body: { scheduleActive: active, ...change } }) =>
      toJobWire(await services.jobSchedules.change(principal, jobIdOf(params.id), { ...change, active })),
  );

  app.post(
    "/jobs/:id/sync",
    {
      config: { scopes: ["job:write"], idempotency: "transaction" },
      schema: {
        operationId: "syncJob",
        summary: "Start a run",
        description: "Answers at once; poll the operation that `Location` names.",
        tags: ["jobs"],
        params: Id,
        headers: PreferHeader,
        response: { 202: ref(OperationWire), ...problems(409) },
      },
    },
    async (request, reply) => {
      const { principal, params } = request;
      const operation = await acceptWork(services, request, reply, acceptedAnswer, (onAccept) =>
        services.syncs.start(principal, jobIdOf(params.id), onAccept),
      );
      return reply.code(202).send(toOperationWire(operation));
    },
  );

  app.get(
    "/jobs/:id/runs",
    {
      config: { scopes: ["run:read"] },
      schema: {
        operationId: "listJobRuns",
        summary: "List a job's runs, newest first",
        tags: ["runs"],
        params: Id,
        querystring: Type.Object(PageQuery),
        response: {
          200: Type.Object({ items: Type.Array(ref(RunWire)), nextCursor: NextCursor }),
          ...problems(),
        },
      },
    },
    async ({ principal, params, query }) => {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const before = decodeCursor(query.cursor, /^\d{1,9}$/);
      const job = await services.jobs.getAny(principal, jobIdOf(params.id));
      const runs = await services.runs.list(job.id, limit + 1, before === null ? null : Number(before));
      const { items, nextCursor } = page(runs, limit, ({ number }) => number);
      return { items: items.map(toRunWire), nextCursor };
    },
  );
};
