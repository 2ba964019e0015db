import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { Role } from "../../domain/connections/config.js";
import type { ProbeTarget } from "../../domain/connections/probe.js";
import { type AcceptedAnswer, acceptWork } from "../accepted.js";
import type { Services } from "../services.js";
import { STARTED, startedAnswer } from "./jobs.js";
import { envelope } from "./wire.js";

/** Headers of requests that ask a store, for the document. */
export const ProbeHeaders = Type.Object({
  prefer: Type.Optional(
    Type.String({
      description: "`respond-async`: do not wait for the store, but answer 202 with an operation to follow.",
      examples: ["respond-async"],
    }),
  ),
});

/** The answer to `Prefer: respond-async`, for the document. */
export const PROBE_ACCEPTED = envelope(Type.Null(), {
  ...STARTED,
  description:
    "With `Prefer: respond-async`: accepted. `Operation-Location` names the operation, whose `result` it is.",
});

const acceptedAnswer = (): AcceptedAnswer => ({ ...startedAnswer(), status: 202 });

/** Lets a worker ask a store, and says where its answer will be found. */
export async function beginProbe(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: { readonly type: "check" | "discover"; readonly role: Role; readonly target: ProbeTarget },
): Promise<null> {
  const { principal, params } = request;
  await acceptWork(services, request, reply, acceptedAnswer, async (_, keeping) => {
    const project = await services.projects.find(principal, (params as { projectid: string }).projectid);
    return services.probes.begin(principal, project, asked.type, asked.role, asked.target, keeping);
  });
  reply.code(202).header("preference-applied", "respond-async");
  return null;
}
