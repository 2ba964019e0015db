import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import type { Role } from "../../domain/connections/config.js";
import { checkResultOf } from "../../domain/connections/probe.js";
import { notFound } from "../../platform/errors.js";
import { bodyAsQuery } from "../bodies.js";
import type { Services } from "../services.js";
import type { ConnectionRoutesOptions } from "./connections.js";
import { ProjectParams } from "./params.js";
import { PROBE_ACCEPTED, ProbeHeaders, probe } from "./probes.js";
import {
  ConfigWire,
  envelope,
  inForm,
  parseJsonField,
  projectFailures,
  TARGET_EXAMPLES,
  TargetBody,
  withExample,
} from "./wire.js";

const SpecRequest = Type.Object({
  type: Type.String({ maxLength: 100 }),
  version: Type.Optional(Type.String({ maxLength: 50, description: "Default: the newest." })),
  catalog: Type.Optional(Type.String({ maxLength: 100, description: "Destinations: echoed." })),
});

interface SpecParameters {
  readonly type: string;
  readonly version?: string;
  readonly catalog?: string;
}

/** An unknown type or version is "not found" here. */
function specOf(services: Services, role: Role, { type, version, catalog }: SpecParameters) {
  const newest = services.catalog.versions(role, type)[0];
  const spec = newest === undefined ? null : services.catalog.spec(role, type, version ?? newest);
  if (spec === null) throw notFound("connector");
  return { type, version: spec.version, ...(catalog === undefined ? {} : { catalog }), spec: spec.schema };
}

/** Specs, versions and tests of the connectors of one role. */
export const connectorRoutes: FastifyPluginAsyncTypebox<ConnectionRoutesOptions> = async (
  app,
  { services, role },
) => {
  const path = `/${role}s` as const;
  const Title = role === "source" ? "Source" : "Destination";
  const tags = [path.slice(1)];
  const config = { scopes: ["connector:read"] } as const;
  const { type, version } = TARGET_EXAMPLES[role];
  const SpecAnswer = envelope(
    Type.Object({
      type: Type.String(),
      version: Type.String(),
      catalog: Type.Optional(Type.String()),
      spec: Type.Object({}, { additionalProperties: true, description: "JSON Schema of the configuration." }),
    }),
  );

  app.get(
    `${path}/spec`,
    {
      config,
      preValidation: bodyAsQuery,
      schema: {
        operationId: `get${Title}Spec`,
        summary: `What a ${role}'s configuration looks like`,
        description: "Parameters in the query, or in a JSON body as the text has it.",
        tags,
        params: ProjectParams,
        querystring: SpecRequest,
        response: { 200: SpecAnswer, ...projectFailures() },
      },
    },
    async ({ principal, params, query }) => {
      await services.projects.find(principal, params.projectid);
      return specOf(services, role, query as SpecParameters);
    },
  );

  app.post(
    `${path}/spec`,
    {
      config,
      schema: {
        operationId: `post${Title}Spec`,
        summary: `What a ${role}'s configuration looks like`,
        tags,
        params: ProjectParams,
        body: withExample(SpecRequest, { type, version }),
        response: { 200: SpecAnswer, ...projectFailures() },
      },
    },
    async ({ principal, params, body }) => {
      await services.projects.find(principal, params.projectid);
      return specOf(services, role, body as SpecParameters);
    },
  );

  app.get(
    `${path}/versions`,
    {
      config,
      schema: {
        operationId: `list${Title}Versions`,
        summary: `Versions of a ${role} connector, newest first`,
        tags,
        params: ProjectParams,
        querystring: Type.Object({ type: Type.String({ maxLength: 100 }) }),
        response: {
          200: envelope(Type.Object({ version: Type.Array(Type.String()) })),
          ...projectFailures(),
        },
      },
    },
    async ({ principal, params, query }) => {
      await services.projects.find(principal, params.projectid);
      const version = services.catalog.versions(role, query.type);
      if (version.length === 0) throw notFound("connector");
      return { version: [...version] };
    },
  );

  app.post(
    `${path}/test`,
    {
      config: {
        scopes: [role === "source" ? "source:write" : "destination:write"],
        idempotency: "transaction if async",
      },
      schema: {
        operationId: `test${Title}`,
        summary: `Test a ${role}'s configuration`,
        description: "Really connects, within 10 s. A failed connection is a 200 with FAILED and the reason.",
        tags,
        params: ProjectParams,
        headers: ProbeHeaders,
        body: withExample(TargetBody, TARGET_EXAMPLES[role]),
        response: {
          200: envelope(
            Type.Object({
              type: Type.String(),
              version: Type.String(),
              config: ConfigWire,
              connection_result: Type.Object({
                status: Type.Enum(["SUCCEEDED", "FAILED"]),
                message: Type.String(),
              }),
              logs: Type.Array(
                Type.Object({ level: Type.String(), time: Type.String(), message: Type.String() }),
              ),
            }),
          ),
          202: PROBE_ACCEPTED,
          ...projectFailures(),
        },
      },
    },
    async (request, reply) => {
      const { type, version, config } = request.body;
      const { value, form } = parseJsonField(config, "/config");
      const target = { type, version, config: value };
      const operation = await probe(services, request, reply, { type: "check", role, target });
      if (operation === null) return null;
      const { status, message, logs } = checkResultOf(operation);
      const masked = inForm(services.connections.mask(role, target), form) as typeof config;
      return { type, version, config: masked, connection_result: { status, message }, logs: [...logs] };
    },
  );
};
