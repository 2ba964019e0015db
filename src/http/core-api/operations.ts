import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { projectFilter } from "../../auth/principal.js";
import { notFound } from "../../platform/errors.js";
import { sayWhenToLook } from "../accepted.js";
import { PreferHeader, waitAsPreferred } from "../prefer.js";
import { problems, ref, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { operationIdOf } from "./operations-commands.js";
import { OperationWire, toOperationWire } from "./wire.js";

/** Reading one operation; what starts them stands with the resources. */
export const operationRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.get(
    "/operations/:id",
    {
      config: { scopes: ["operation:read"] },
      schema: {
        operationId: "getOperation",
        summary: "Read one operation",
        description:
          "Poll it until `done`; `Retry-After` says when a look is worth while. With `Prefer: wait=N` (at most 60 s) the answer comes when it is done, or after that time with its present state.",
        tags: ["operations"],
        params: Type.Object({ id: Uuid }),
        headers: PreferHeader,
        response: { 200: ref(OperationWire), ...problems() },
      },
    },
    async (request, reply) => {
      const { principal, params } = request;
      const seenBy = { organizationId: principal.organizationId, projects: projectFilter(principal) };
      const found = await services.ledger.read(operationIdOf(params.id), seenBy);
      if (found === null) throw notFound("operation");
      const operation = await waitAsPreferred(services, request, reply, found);
      await sayWhenToLook(services, reply, operation);
      return toOperationWire(operation);
    },
  );
};
