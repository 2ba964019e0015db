import type { FastifyInstance } from "fastify";
import { readForm } from "../forms.js";
import type { Services } from "../services.js";
import { ApiClientWire, apiClientRoutes, CreatedApiClientWire } from "./api-clients.js";
import { Failure } from "./wire.js";

/** The deployments API; its bodies are JSON or forms. */
export async function deploymentsApi(
  app: FastifyInstance,
  { services }: { services: Services },
): Promise<void> {
  for (const schema of [Failure, ApiClientWire, CreatedApiClientWire]) app.addSchema(schema);
  app.addHook("preValidation", readForm);
  await app.register(apiClientRoutes, { services });
}
