import type { FastifyInstance } from "fastify";
import type { Services } from "../services.js";
import { checkUniqueRoute } from "./check-unique.js";
import { connectionRoutes } from "./connections.js";
import { connectorRoutes } from "./connectors.js";
import { envelopeAnswers } from "./envelope.js";
import { jobRoutes } from "./jobs.js";
import { jobCancelRoutes } from "./jobs-cancel.js";
import { settingsRoutes } from "./settings.js";
import { sourceStreamRoutes } from "./source-streams.js";
import { taskRoutes } from "./tasks.js";
import { Failure, JobWire, TaskWire } from "./wire.js";

/** The project API below `/api/v1/project/:projectid`; every success gets its envelope here, once. */
export async function projectApi(app: FastifyInstance, { services }: { services: Services }): Promise<void> {
  for (const schema of [Failure, JobWire, TaskWire]) app.addSchema(schema);
  envelopeAnswers(app);
  for (const role of ["source", "destination"] as const) {
    await app.register(connectorRoutes, { services, role });
    await app.register(connectionRoutes, { services, role });
  }
  await app.register(sourceStreamRoutes, { services });
  await app.register(jobRoutes, { services });
  await app.register(jobCancelRoutes, { services });
  await app.register(taskRoutes, { services });
  await app.register(checkUniqueRoute, { services });
  await app.register(settingsRoutes, { services });
}
