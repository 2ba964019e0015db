import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import type { Principal } from "../../auth/principal.js";
import type { LogLine } from "../../domain/runs/logs.js";
import { notFound } from "../../platform/errors.js";
import { LogQuery, logCursor, logWindow } from "../core-api/job-runs.js";
import { PageQuery } from "../pagination.js";
import { ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import { linkNextPage } from "./paging.js";
import { afterNumber, ItemParams, numberOf, ProjectParams } from "./params.js";
import { envelope, listEnvelope, projectFailures, TaskWire, toTaskWire } from "./wire.js";

const tags = ["tasks"];
const DEFAULT_TASKS = 50;
const DEFAULT_LINES = 1_000;

const JobParams = Type.Object({ ...ProjectParams.properties, jobid: ItemParams.properties.id });
const TaskParams = Type.Object({
  ...JobParams.properties,
  id: Type.String({ maxLength: 40, description: "The task's id." }),
});

const Line = Type.Object({
  level: Type.String(),
  time: Type.String({ format: "date-time" }),
  message: Type.String(),
});

/** A line of the whole run: the step that printed it stands in front. */
function toLine({ level, time, message, step }: LogLine) {
  return { level, time: time.toISOString(), message: `${step}: ${message}` };
}

/** The run of a task, where it is this job's and this project's. */
async function runOf(
  services: Services,
  principal: Principal,
  params: { projectid: string; jobid: string; id: string },
) {
  const project = await services.projects.find(principal, params.projectid);
  const job = await services.jobs.get(project, numberOf(params.jobid, "job"));
  const run = await services.runs.get(principal, params.id);
  if (run.jobId !== job.id) throw notFound("task");
  return run;
}

/** What ran, and what it printed. */
export const taskRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  app.get(
    "/jobs/:jobid/tasks",
    {
      config: { scopes: ["run:read"] },
      schema: {
        operationId: "listTasks",
        summary: "A job's runs, newest first",
        tags,
        params: JobParams,
        querystring: Type.Object(PageQuery),
        response: { 200: listEnvelope(Type.Array(ref(TaskWire))), ...projectFailures() },
      },
    },
    async ({ principal, params, query, url }, reply) => {
      const project = await services.projects.find(principal, params.projectid);
      const job = await services.jobs.get(project, numberOf(params.jobid, "job"));
      const limit = query.limit ?? DEFAULT_TASKS;
      const runs = await services.runs.list(job.id, limit + 1, afterNumber(query.cursor));
      const now = new Date();
      return linkNextPage(url, reply, runs, limit, ({ number }) => number).map((run) => toTaskWire(run, now));
    },
  );

  app.get(
    "/jobs/:jobid/task/:id/logs",
    {
      config: { scopes: ["run:read"] },
      schema: {
        operationId: "getTaskLogs",
        summary: "What a run printed",
        description: `The last ${DEFAULT_LINES} lines; the route with cursors reads all of them.`,
        tags,
        params: TaskParams,
        response: { 200: envelope(Type.Object({ task_logs: Type.Array(Line) })), ...projectFailures() },
      },
    },
    async ({ principal, params }) => {
      const run = await runOf(services, principal, params);
      const found = await services.logs.page({
        runId: run.id,
        limit: DEFAULT_LINES,
        cursor: null,
        direction: "older",
      });
      return { task_logs: found.lines.map(toLine) };
    },
  );

  for (const method of ["GET", "POST"] as const) {
    app.route({
      method,
      url: "/jobs/:jobid/tasks/:id/logs",
      config: { scopes: ["run:read"] },
      schema: {
        operationId: `${method.toLowerCase()}TaskLogPage`,
        summary: "A page of what a run printed",
        tags,
        params: TaskParams,
        querystring: Type.Object(LogQuery),
        response: {
          200: envelope(
            Type.Object({
              logs: Type.Array(Line),
              older_cursor: Type.Union([Type.String(), Type.Null()]),
              newer_cursor: Type.Union([Type.String(), Type.Null()]),
              has_more_older: Type.Boolean(),
              has_more_newer: Type.Boolean(),
            }),
          ),
          ...projectFailures(),
        },
      },
      handler: async ({ principal, params, query }) => {
        const run = await runOf(services, principal, params);
        const found = await services.logs.page({
          runId: run.id,
          limit: query.limit ?? 100,
          cursor: logCursor(query.cursor),
          direction: query.direction ?? "older",
        });
        const { olderCursor, newerCursor, hasOlder, hasNewer } = logWindow(found, query.cursor);
        return {
          logs: found.lines.map(toLine),
          older_cursor: olderCursor,
          newer_cursor: newerCursor,
          has_more_older: hasOlder,
          has_more_newer: hasNewer,
        };
      },
    });
  }
};
