import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { bodyAsQuery } from "../bodies.js";
import { prefersAsync } from "../prefer.js";
import type { Services } from "../services.js";
import { ProjectParams } from "./params.js";
import { beginProbe, PROBE_ACCEPTED, ProbeHeaders } from "./probes.js";
import { toStreamsConfig } from "./streams.js";
import {
  envelope,
  parseJsonField,
  projectFailures,
  TARGET_EXAMPLES,
  TargetBody,
  withExample,
} from "./wire.js";

const Answer = envelope(
  Type.Object({
    streams_config: Type.Object(
      {},
      {
        additionalProperties: true,
        description: "Sent back unchanged as a job's it means every stream, full refresh.",
      },
    ),
  }),
);

/** Discovery: what a source offers. */
export const sourceStreamRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  for (const path of ["/source/streams", "/sources/streams"] as const) {
    for (const method of ["GET", "POST"] as const) {
      app.route({
        method,
        url: path,
        config: { scopes: ["source:write"], idempotency: "transaction if async" },
        preValidation: bodyAsQuery,
        schema: {
          operationId: `${method.toLowerCase()}${path === "/source/streams" ? "Source" : "Sources"}Streams`,
          summary: "Discover the streams of a source",
          description:
            "Really reads the source, within 10 s. GET takes the same in a JSON body or in the query.",
          tags: ["sources"],
          params: ProjectParams,
          ...(method === "POST" ? { headers: ProbeHeaders } : {}),
          ...(method === "GET"
            ? { querystring: TargetBody }
            : { body: withExample(TargetBody, TARGET_EXAMPLES.source) }),
          response: {
            200: Answer,
            ...(method === "POST" ? { 202: PROBE_ACCEPTED } : {}),
            ...projectFailures(),
          },
        },
        handler: async (request, reply) => {
          const { principal, params, query, body } = request;
          const { type, version, config } = (method === "GET" ? query : body) as {
            type: string;
            version: string;
            config: unknown;
          };
          const target = { type, version, config: parseJsonField(config, "/config").value };
          if (method === "POST" && prefersAsync(request))
            return beginProbe(services, request, reply, { type: "discover", role: "source", target });
          const { projectid } = params as { projectid: string };
          const project = await services.projects.find(principal, projectid);
          return {
            streams_config: toStreamsConfig(await services.probes.discover(principal, project, target)),
          };
        },
      });
    }
  }
};
