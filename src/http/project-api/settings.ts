import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import type { Alert } from "../../domain/webhooks/alerts.js";
import { MAX_URL } from "../../domain/webhooks/filter.js";
import type { Services } from "../services.js";
import { ProjectParams } from "./params.js";
import { envelope, projectFailures } from "./wire.js";

const Url = Type.Union([Type.String({ maxLength: MAX_URL }), Type.Null()], {
  description: "Where failed syncs are told to; empty or null: nowhere.",
});

const SettingsWire = Type.Object({
  project_id: Type.Integer(),
  webhook_alert_url: Url,
  webhook_id: Type.Union([Type.String(), Type.Null()], {
    description: "The webhook of the core API that does it: deliveries, tests and secrets are there.",
  }),
  webhook_enabled: Type.Boolean({ description: "False where there is none, or it was disabled." }),
});

const SavedSettingsWire = Type.Object({
  ...SettingsWire.properties,
  webhook_secret: Type.Optional(
    Type.String({ description: "Shown once, when the webhook is made: what signatures are checked with." }),
  ),
});

function toWire(number: number, { webhook, secret }: Alert): Static<typeof SavedSettingsWire> {
  return {
    project_id: number,
    webhook_alert_url: webhook?.url ?? null,
    webhook_id: webhook?.id ?? null,
    webhook_enabled: webhook !== null && webhook.disabledAt === null,
    ...(secret === null ? {} : { webhook_secret: secret }),
  };
}

/** A project's settings. */
export const settingsRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  const { projects, alerts } = services;

  app.get(
    "/settings",
    {
      config: { scopes: ["setting:read"] },
      schema: {
        operationId: "getProjectSettings",
        summary: "A project's settings",
        tags: ["projects"],
        params: ProjectParams,
        response: { 200: envelope(SettingsWire), ...projectFailures() },
      },
    },
    async ({ principal, params }) => {
      const project = await projects.find(principal, params.projectid);
      return toWire(project.number, await alerts.get(principal, project));
    },
  );

  app.put(
    "/settings",
    {
      config: { scopes: ["setting:write"] },
      schema: {
        operationId: "putProjectSettings",
        summary: "Change a project's settings",
        description:
          "`webhook_alert_url` is a webhook of the project for failed syncs: made, moved (and enabled again) or removed.",
        tags: ["projects"],
        params: ProjectParams,
        body: Type.Object(
          { webhook_alert_url: Url },
          { examples: [{ webhook_alert_url: "https://hooks.example.com/alerts" }] },
        ),
        response: { 200: envelope(SavedSettingsWire), ...projectFailures(409) },
      },
    },
    async ({ principal, params, body }, reply) => {
      const project = await projects.find(principal, params.projectid);
      const url = body.webhook_alert_url === "" ? null : body.webhook_alert_url;
      reply.header("cache-control", "no-store");
      return toWire(project.number, await alerts.set(principal, project, url));
    },
  );
};
