import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { problems, ref, Uuid } from "../schemas/common.js";
import type { Services } from "../services.js";
import { ClientParams } from "./clients.js";
import { AddSecretBody, CreatedSecretWire, toSecretWire } from "./clients-wire.js";

const tags = ["clients"];
const write = { scopes: ["client:write"] } as const;

/** Secrets of API clients: added while the one before still works, and removed. */
export const clientSecretRoutes: FastifyPluginAsyncTypebox<{ services: Services }> = async (
  app,
  { services },
) => {
  const { clientSecrets } = services;

  app.post(
    "/clients/:id/secrets",
    {
      config: write,
      schema: {
        operationId: "addClientSecret",
        summary: "Add a secret to an API client",
        description:
          "The new secret is shown once; the one before lives on for a time of grace. Two can be live at a time.",
        tags,
        params: ClientParams,
        body: AddSecretBody,
        response: { 201: ref(CreatedSecretWire), ...problems(409) },
      },
    },
    async ({ principal, params, body }, reply) => {
      const added = await clientSecrets.add(principal, params.id, body?.graceSeconds);
      reply.code(201).header("cache-control", "no-store");
      return {
        ...toSecretWire(added.secret),
        clientId: added.client.clientId,
        clientSecret: added.clientSecret,
        secrets: added.client.secrets.map(toSecretWire),
      };
    },
  );

  app.delete(
    "/clients/:id/secrets/:sid",
    {
      config: write,
      schema: {
        operationId: "deleteClientSecret",
        summary: "Remove a secret of an API client",
        description: "Ends the tokens that were issued to the client so far.",
        tags,
        params: Type.Object({ ...ClientParams.properties, sid: Uuid }),
        response: { 204: Type.Null({ description: "Removed." }), ...problems() },
      },
    },
    async ({ principal, params }, reply) => {
      await clientSecrets.remove(principal, params.id, params.sid);
      return reply.code(204).send(null);
    },
  );
};
