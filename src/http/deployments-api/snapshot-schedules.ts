import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { ref } from "../schemas/common.js";
import type { Services } from "../services.js";
import { Overlap, ScheduleWire, toScheduleWire } from "./archives-wire.js";
import { DatabaseParams, type RouteForm, refOf } from "./references.js";
import { BODIES, deploymentsFailures } from "./wire.js";

const Body = Type.Object(
  {
    cron: Type.String({
      minLength: 1,
      maxLength: 200,
      description: "Five fields, or `@daily`, `@hourly` ...",
    }),
    timezone: Type.Optional(
      Type.String({ minLength: 1, maxLength: 100, default: "UTC", description: "IANA name." }),
    ),
    keep: Type.Optional(
      Type.Union([Type.Integer({ minimum: 1, maximum: 1_000 }), Type.Null()], {
        description: "How many of its snapshots are kept. Default: as many as the plan keeps.",
      }),
    ),
    overlap: Type.Optional({ ...Overlap, default: "skip" }),
  },
  {
    additionalProperties: false,
    examples: [{ cron: "0 3 * * *", timezone: "Europe/Berlin", keep: 2, overlap: "queue" }],
  },
);

const URL = "/:id/snapshot-schedule";
const tags = ["snapshots"];

/** When snapshots are made by themselves, in one of the forms of the routes. */
export const snapshotScheduleRoutes: FastifyPluginAsyncTypebox<{
  services: Services;
  form: RouteForm;
}> = async (app, { services, form }) => {
  const hide = !form.shown;
  const { schedules } = services.deployments;

  app.get(
    URL,
    {
      config: { scopes: ["snapshot:read"] },
      schema: {
        hide,
        operationId: "getSnapshotSchedule",
        summary: "Read the snapshot schedule of a database",
        tags,
        params: DatabaseParams,
        response: { 200: ref(ScheduleWire), ...deploymentsFailures() },
      },
    },
    async ({ principal, params }) => toScheduleWire(await schedules.get(principal, refOf(params))),
  );

  app.put(
    URL,
    {
      config: { scopes: ["snapshot:write"] },
      schema: {
        hide,
        operationId: "setSnapshotSchedule",
        summary: "Make snapshots by themselves",
        description:
          "Replaces the schedule. A tick while another operation is at work passes, or one snapshot waits for the end, as `overlap` says; a tick while the database is paused passes. Ticks that were missed are made up for by one snapshot.",
        tags,
        params: DatabaseParams,
        consumes: BODIES,
        body: Body,
        response: { 200: ref(ScheduleWire), ...deploymentsFailures(409) },
      },
    },
    async ({ principal, params, body }) => {
      const { cron, timezone = "UTC", keep = null, overlap = "skip" } = body;
      const input = { cron, timeZone: timezone, keep, overlap };
      return toScheduleWire(await schedules.put(principal, refOf(params), input));
    },
  );

  app.delete(
    URL,
    {
      config: { scopes: ["snapshot:write"] },
      schema: {
        hide,
        operationId: "deleteSnapshotSchedule",
        summary: "Make no more snapshots by themselves",
        description: "Those that were made stay.",
        tags,
        params: DatabaseParams,
        response: { 204: Type.Null({ description: "Deleted." }), ...deploymentsFailures() },
      },
    },
    async ({ principal, params }, reply) => {
      await schedules.delete(principal, refOf(params));
      return reply.code(204).send(null);
    },
  );
};
