import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { projectFilter } from "../../auth/principal.js";
import { isDone, type Operation } from "../../operations/operation.js";
import type { Waiters } from "../../operations/waiters.js";
import { AppError, notFound } from "../../platform/errors.js";
import { type EventStream, lastEventId, toEventText } from "../events.js";
import { DRAINING } from "../health-drain.js";
import { problems, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { operationIdOf } from "./operations-commands.js";
import { toOperationWire } from "./wire.js";

const EVENTS = {
  description:
    "Events named `operation`; `data` is the operation as `GET /api/v1/operations/{id}` answers it.",
  content: {
    "text/event-stream": {
      schema: Type.String(),
      example:
        'id: 7\nevent: operation\ndata: {"id": "0199b3c4-6f2e-7c55-9d4b-2f6f1c1f7a10", "done": false}\n\n',
    },
  },
};

/** Follows an operation to its end. */
export const operationEventRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  app.get(
    "/operations/:id/events",
    {
      config: { scopes: ["operation:read"] },
      schema: {
        operationId: "followOperation",
        summary: "Follow one operation by server-sent events",
        description:
          "An event with the whole operation for its present state and for each change of its status, progress (at most twice a second) and steps; the stream ends after the one that is `done`. Whoever comes back with `Last-Event-ID` gets the present state only where it is another one; 204 says that there is nothing more to come. A comment every 15 s keeps the connection alive.",
        tags: ["operations"],
        params: Type.Object({ id: Uuid }),
        headers: Type.Object({
          "last-event-id": Type.Optional(
            Type.String({ maxLength: 100, description: "The `id` of the last event seen." }),
          ),
        }),
        response: {
          200: EVENTS,
          204: Type.Null({ description: "It is done, and the client has seen that." }),
          ...problems(),
        },
      },
    },
    async (request, reply) => {
      const { principal, params } = request;
      const seenBy = { organizationId: principal.organizationId, projects: projectFilter(principal) };
      const operation = await services.ledger.read(operationIdOf(params.id), seenBy);
      if (operation === null) throw notFound("operation");
      const seen = lastEventId(request);
      if (isDone(operation.status) && seen === operation.revision) return reply.code(204).send(null);
      if (services.waiters.isClosed) throw new AppError("unavailable", DRAINING);
      if (services.waiters.isFullFor(operation.organizationId)) {
        const details = { retryAfter: 5 };
        throw new AppError("unavailable", "too many clients follow operations: poll this one", { details });
      }
      // Fastify makes it of every GET: what that would begin with.
      if (request.method === "HEAD") return reply.type("text/event-stream").send("");
      follow(services.waiters, app.eventStreams.open(request, reply, operation.projectId), operation, seen);
    },
  );
};

function follow(waiters: Waiters, stream: EventStream, operation: Operation, seen: number | null): void {
  const tell = (now: Operation): void => {
    stream.send(textOf(now));
    if (isDone(now.status)) stream.end();
  };
  if (seen !== operation.revision) tell(operation);
  if (isDone(operation.status)) return;
  stream.onEnd(waiters.watch(operation, tell, () => stream.end()));
}

/** What was read once for all who follow an operation is written once for all of them, too. */
const texts = new WeakMap<Operation, string>();

function textOf(operation: Operation): string {
  const known = texts.get(operation);
  if (known !== undefined) return known;
  const text = toEventText({
    id: operation.revision,
    event: "operation",
    data: toOperationWire(operation),
  });
  texts.set(operation, text);
  return text;
}
