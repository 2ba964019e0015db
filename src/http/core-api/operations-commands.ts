import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import type { Operation } from "../../operations/operation.js";
import { notFound } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import { type AcceptedAnswer, acceptWork } from "../accepted.js";
import { PreferHeader } from "../prefer.js";
import { problems, ref, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { OperationWire, toOperationWire } from "./wire.js";

/** What a 202 says. */
export const acceptedAnswer = (operation: Operation): AcceptedAnswer => ({
  status: 202,
  body: toOperationWire(operation),
});

const Id = Type.Object({ id: Uuid });

/** The id of a path; what is no id names nothing. */
export function operationIdOf(text: string): string {
  const id = parseId(text);
  if (id === null) throw notFound("operation");
  return id;
}

/** What can be done to operations. */
export const operationCommandRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.post(
    "/operations/:id/cancel",
    {
      config: { scopes: ["operation:write"], idempotency: "transaction" },
      schema: {
        operationId: "cancelOperation",
        summary: "Cancel an operation",
        description:
          "Cooperative: it is `cancelling` until its worker has stopped. One that is past its point of no return succeeds all the same; one that is done, or of a type that cannot be cancelled, is a 409.",
        tags: ["operations"],
        params: Id,
        headers: PreferHeader,
        response: { 202: ref(OperationWire), ...problems(409) },
      },
    },
    async (request, reply) => {
      const { principal, params } = request;
      const operation = await acceptWork(services, request, reply, acceptedAnswer, (onAccept) =>
        services.cancellations.cancel(principal, operationIdOf(params.id), onAccept),
      );
      return reply.code(202).send(toOperationWire(operation));
    },
  );

  app.post(
    "/operations/:id/retry",
    {
      config: { scopes: ["operation:write"], idempotency: "transaction" },
      schema: {
        operationId: "retryOperation",
        summary: "Retry a failed or cancelled sync",
        description:
          "A new run of the job as it is now. The answer is the new operation, which `nextOperationId` of the old one names; a second retry of the same is a 409 that names it too.",
        tags: ["operations"],
        params: Id,
        headers: PreferHeader,
        response: { 202: ref(OperationWire), ...problems(409) },
      },
    },
    async (request, reply) => {
      const { principal, params } = request;
      const operation = await acceptWork(services, request, reply, acceptedAnswer, (onAccept) =>
        services.retries.retry(principal, operationIdOf(params.id), onAccept),
      );
      return reply.code(202).send(toOperationWire(operation));
    },
  );
};
