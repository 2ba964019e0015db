import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { type Static, Type } from "typebox";
import { streamsOf } from "../../domain/connections/probe.js";
import { bodyAsQuery } from "../bodies.js";
import type { Services } from "../services.js";
import { ProjectParams } from "./params.js";
import { PROBE_ACCEPTED, ProbeHeaders, probe } from "./probes.js";
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
          headers: ProbeHeaders,
          ...(method === "GET"
            ? { querystring: TargetBody }
            : { body: withExample(TargetBody, TARGET_EXAMPLES.source) }),
          response: { 200: Answer, 202: PROBE_ACCEPTED, ...projectFailures() },
        },
        handler: async (request, reply) => {
          const { type, version, config } = (method === "GET" ? request.query : request.body) as Static<
            typeof TargetBody
          >;
          const target = { type, version, config: parseJsonField(config, "/config").value };
          const asked = { type: "discover", role: "source", target } as const;
          const operation = await probe(services, request, reply, asked);
          return operation === null ? null : { streams_config: toStreamsConfig(streamsOf(operation)) };
        },
      });
    }
  }
};
