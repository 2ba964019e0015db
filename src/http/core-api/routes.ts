import type { FastifyInstance } from "fastify";
import type { Services } from "../services.js";
import { AuditEventWire, auditEventRoutes } from "./audit-events.js";
import { clientRoutes } from "./clients.js";
import { clientSecretRoutes } from "./clients-secrets.js";
import { clientTokenRoutes } from "./clients-tokens.js";
import { ClientWire, CreatedClientWire, CreatedSecretWire } from "./clients-wire.js";
import { jobRunRoutes } from "./job-runs.js";
import { jobRoutes } from "./jobs.js";
import { operationRoutes } from "./operations.js";
import { operationCommandRoutes } from "./operations-commands.js";
import { operationEventRoutes } from "./operations-events.js";
import { operationListRoutes } from "./operations-lists.js";
import { OrganizationWire, organizationRoutes } from "./organizations.js";
import { ProjectWire, projectRoutes } from "./projects.js";
import { ResourceServerWire, resourceServerRoutes } from "./resource-servers.js";
import { UserWire, userRoutes } from "./users.js";
import { webhookRoutes } from "./webhooks.js";
import { webhookDeliveryRoutes } from "./webhooks-deliveries.js";
import {
  CreatedWebhookWire,
  DeliveryDetailsWire,
  DeliveryWire,
  WebhookMessageWire,
  WebhookWire,
} from "./webhooks-wire.js";
import { JobWire, LogLineWire, OperationWire, RunWire, StepWire } from "./wire.js";

/** The core API below `/api/v1`. */
export async function coreApi(app: FastifyInstance, { services }: { services: Services }): Promise<void> {
  for (const schema of [OperationWire, JobWire, RunWire, StepWire, LogLineWire, AuditEventWire])
    app.addSchema(schema);
  for (const schema of [ClientWire, CreatedClientWire, CreatedSecretWire, ResourceServerWire])
    app.addSchema(schema);
  for (const schema of [ProjectWire, OrganizationWire, UserWire]) app.addSchema(schema);
  for (const schema of [WebhookWire, CreatedWebhookWire, WebhookMessageWire]) app.addSchema(schema);
  for (const schema of [DeliveryWire, DeliveryDetailsWire]) app.addSchema(schema);
  await app.register(operationRoutes, { services });
  await app.register(operationListRoutes, { services });
  await app.register(operationCommandRoutes, { services });
  await app.register(operationEventRoutes, { services });
  await app.register(jobRoutes, { services });
  await app.register(jobRunRoutes, { services });
  await app.register(auditEventRoutes, { services });
  await app.register(clientRoutes, { services });
  await app.register(clientSecretRoutes, { services });
  await app.register(clientTokenRoutes, { services });
  await app.register(resourceServerRoutes, { services });
  await app.register(projectRoutes, { services });
  await app.register(organizationRoutes, { services });
  await app.register(userRoutes, { services });
  await app.register(webhookRoutes, { services });
  await app.register(webhookDeliveryRoutes, { services });
}
