import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import type { LogPage } from "../../domain/runs/logs.js";
import { notFound } from "../../platform/errors.js";
import { decodeCursor, encodeCursor, PageQuery } from "../pagination.js";
import { problems, ref, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { LogLineWire, RunWire, StepWire, toLogLineWire, toRunWire, toStepWire } from "./wire.js";

const Id = Type.Object({ id: Uuid });
const StepName = Type.Object({ id: Uuid, name: Type.String({ maxLength: 200 }) });
const DEFAULT_LINES = 100;

export const LogQuery = {
  ...PageQuery,
  direction: Type.Optional(
    Type.Enum(["older", "newer"], { description: "From the cursor, or from that end. Default: newer." }),
  ),
};

/**
 * The wire form of a log page: cursors both ways.
 * @param asked the cursor of the request: a page without lines leaves the client where it was
 */
export function logWindow({ lines, hasOlder, hasNewer }: LogPage, asked: string | undefined) {
  const first = lines[0];
  const last = lines.at(-1);
  return {
    olderCursor: hasOlder ? (first === undefined ? (asked ?? null) : encodeCursor(first.id)) : null,
    newerCursor: last === undefined ? (asked ?? null) : encodeCursor(last.id),
    hasOlder,
    hasNewer,
  };
}

export function logCursor(cursor: string | undefined): bigint | null {
  const text = decodeCursor(cursor, /^\d{1,18}$/);
  return text === null ? null : BigInt(text);
}

export const jobRunRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (app, { services }) => {
  app.get(
    "/job-runs/:id",
    {
      config: { scopes: ["run:read"] },
      schema: {
        operationId: "getJobRun",
        summary: "Read one run with its steps",
        tags: ["runs"],
        params: Id,
        response: {
          200: Type.Object({ ...RunWire.properties, steps: Type.Array(ref(StepWire)) }),
          ...problems(),
        },
      },
    },
    async ({ principal, params }) => {
      const run = await services.runs.get(principal, params.id);
      return { ...toRunWire(run), steps: run.steps.map(toStepWire) };
    },
  );

  app.get(
    "/job-runs/:id/steps",
    {
      config: { scopes: ["run:read"] },
      schema: {
        operationId: "listJobRunSteps",
        summary: "The steps of a run, in the order of its graph",
        tags: ["runs"],
        params: Id,
        response: { 200: Type.Object({ items: Type.Array(ref(StepWire)) }), ...problems() },
      },
    },
    async ({ principal, params }) => {
      const run = await services.runs.get(principal, params.id);
      return { items: run.steps.map(toStepWire) };
    },
  );

  app.get(
    "/job-runs/:id/steps/:name",
    {
      config: { scopes: ["run:read"] },
      schema: {
        operationId: "getJobRunStep",
        summary: "Read one step of a run",
        tags: ["runs"],
        params: StepName,
        response: { 200: ref(StepWire), ...problems() },
      },
    },
    async ({ principal, params }) => {
      const run = await services.runs.get(principal, params.id);
      const step = run.steps.find(({ name }) => name === params.name);
      if (step === undefined) throw notFound("step");
      return toStepWire(step);
    },
  );

  app.get(
    "/job-runs/:id/steps/:name/logs",
    {
      config: { scopes: ["run:read"] },
      schema: {
        operationId: "getJobRunStepLogs",
        summary: "What a step printed",
        description: "`newerCursor` works as long as the run goes on: ask again with it for what came since.",
        tags: ["runs"],
        params: StepName,
        querystring: Type.Object(LogQuery),
        response: {
          200: Type.Object({
            items: Type.Array(ref(LogLineWire)),
            olderCursor: Type.Union([Type.String(), Type.Null()]),
            newerCursor: Type.Union([Type.String(), Type.Null()]),
            hasOlder: Type.Boolean(),
            hasNewer: Type.Boolean(),
          }),
          ...problems(),
        },
      },
    },
    async ({ principal, params, query }) => {
      const run = await services.runs.get(principal, params.id);
      if (!run.steps.some(({ name }) => name === params.name)) throw notFound("step");
      const found = await services.logs.page({
        runId: run.id,
        step: params.name,
        limit: query.limit ?? DEFAULT_LINES,
        cursor: logCursor(query.cursor),
        direction: query.direction ?? "newer",
      });
      return { items: found.lines.map(toLogLineWire), ...logWindow(found, query.cursor) };
    },
  );
};
