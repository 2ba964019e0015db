import type { FastifyInstance } from "fastify";
import type { Services } from "../services.js";
import { AuditEventWire, auditEventRoutes } from "./audit-events.js";
import { jobRunRoutes } from "./job-runs.js";
import { jobRoutes } from "./jobs.js";
import { operationRoutes } from "./operations.js";
import { JobWire, LogLineWire, OperationWire, RunWire, StepWire } from "./wire.js";

/** The core API below `/api/v1`. */
export async function coreApi(app: FastifyInstance, { services }: { services: Services }): Promise<void> {
  for (const schema of [OperationWire, JobWire, RunWire, StepWire, LogLineWire, AuditEventWire])
    app.addSchema(schema);
  await app.register(operationRoutes, { services });
  await app.register(jobRoutes, { services });
  await app.register(jobRunRoutes, { services });
  await app.register(auditEventRoutes, { services });
}
