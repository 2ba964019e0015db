import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { AppError } from "../../platform/errors.js";
import { acceptWork } from "../accepted.js";
import { PreferHeader } from "../prefer.js";
import type { Services } from "../services.js";
import { ItemParams, numberOf } from "./params.js";
import { envelope, projectFailures, STARTED, startedAnswer } from "./wire.js";

/** Ends the run of a job, with either method: browsers of the text's own UI send GET. */
export const jobCancelRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  for (const [method, operationId] of [
    ["GET", "cancelProjectJobByGet"],
    ["POST", "cancelProjectJob"],
  ] as const) {
    app.route({
      method,
      url: "/jobs/:id/cancel",
      config: { scopes: ["operation:write"], idempotency: "transaction" },
      schema: {
        operationId,
        summary: "Cancel the job's run",
        description:
          "What the run has written so far is never seen: the destination keeps what it had. 409 where no run is active.",
        tags: ["jobs"],
        params: ItemParams,
        headers: PreferHeader,
        response: { 200: envelope(Type.Null(), STARTED), ...projectFailures(409) },
      },
      handler: async (request, reply) => {
        const { principal, params } = request;
        // Fastify makes a HEAD route of every GET: nobody who sends that means to cancel.
        if (request.method === "HEAD") {
          reply.header("allow", "GET, POST");
          throw new AppError("method_not_allowed", "HEAD cancels nothing: send POST");
        }
        await acceptWork(services, request, reply, startedAnswer, async (onAccept) => {
          const project = await services.projects.find(principal, params.projectid);
          const job = await services.jobs.get(project, numberOf(params.id, "job"));
          return services.cancellations.cancelRun(principal, job, onAccept);
        });
        return null;
      },
    });
  }
};
