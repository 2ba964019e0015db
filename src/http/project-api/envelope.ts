import type { FastifyInstance } from "fastify";

/** Puts the text's envelope around every success of a scope; failures get theirs from the dialect. */
export function envelopeAnswers(app: FastifyInstance): void {
  app.addHook("preSerialization", async (_request, reply, payload) =>
    reply.statusCode < 400 ? { success: true, message: "success", data: payload ?? null } : payload,
  );
}
