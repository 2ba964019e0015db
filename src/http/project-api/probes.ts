import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { Question } from "../../domain/connections/probe.js";
import { isDone, type Operation } from "../../operations/operation.js";
import { type AcceptedAnswer, acceptWork } from "../accepted.js";
import { prefersAsync } from "../prefer.js";
import type { Services } from "../services.js";
import { envelope, STARTED, startedAnswer } from "./wire.js";

/** Headers of requests that ask a store, for the document. */
export const ProbeHeaders = Type.Object({
  prefer: Type.Optional(
    Type.String({
      description:
        "`respond-async`: do not wait for the store, but answer 202 with an operation to follow, which needs `operation:read`; with `wait=N` wait that long before.",
      examples: ["respond-async", "respond-async, wait=5"],
    }),
  ),
});

/** The answer to `Prefer: respond-async`, for the document. */
export const PROBE_ACCEPTED = envelope(Type.Null(), {
  ...STARTED,
  description:
    "With `Prefer: respond-async`: accepted. `Operation-Location` names the operation. Its `result` is `{status, message, logs}` of a test and `{streams}` of a discovery; where no store could be asked to the end it has failed, and so has a discovery of what cannot be read.",
});

const acceptedAnswer = (): AcceptedAnswer => ({ ...startedAnswer(), status: 202 });

/**
 * Has a store asked, and waits for its answer, or as the client prefers (RFC 7240 sections 4.1 and 4.3). Null: there is
 * nothing to say yet but where to look, and the answer is a 202.
 */
export async function probe(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: Pick<Question, "type" | "role" | "target">,
): Promise<Operation | null> {
  const { principal, params } = request;
  const question = async (): Promise<Question> => {
    const project = await services.projects.find(principal, (params as { projectid: string }).projectid);
    return { ...asked, principal, project };
  };
  if (!prefersAsync(request)) return services.probes.ask(await question());
  const operation = await acceptWork(services, request, reply, acceptedAnswer, async (_, keeping) =>
    services.probes.begin(await question(), keeping),
  );
  const waited = reply.getHeader("preference-applied");
  reply.header("preference-applied", `respond-async${waited === undefined ? "" : `, ${waited}`}`);
  if (isDone(operation.status)) return operation;
  reply.code(202);
  return null;
}
