import type { FastifyInstance } from "fastify";
import { readForm } from "../forms.js";
import type { Services } from "../services.js";
import { ApiKeyWire, apiKeyRoutes, CreatedApiKeyWire } from "./api-keys.js";
import { Failure } from "./wire.js";

/** The topics API below `/api/v1`; its bodies are JSON or forms. */
export async function topicsApi(app: FastifyInstance, { services }: { services: Services }): Promise<void> {
  for (const schema of [Failure, ApiKeyWire, CreatedApiKeyWire]) app.addSchema(schema);
  app.addHook("preValidation", readForm);
  await app.register(apiKeyRoutes, { services });
}
