import type { FastifyInstance, FastifyRequest } from "fastify";
import { readForm } from "../forms.js";
import type { Services } from "../services.js";
import { ApiClientWire, apiClientRoutes, CreatedApiClientWire } from "./api-clients.js";
import { archiveRoutes } from "./archives.js";
import { ExportWire, ScheduleWire, SnapshotWire } from "./archives-wire.js";
import { catalogRoutes } from "./catalogs.js";
import { commandRoutes } from "./commands.js";
import { databaseOperationRoutes } from "./database-operations.js";
import { createDatabaseRoute, databaseRoutes } from "./databases.js";
import { CreatedDatabaseWire, DatabaseStatusWire, DatabaseWire } from "./databases-wire.js";
import { importRoutes } from "./imports.js";
import { AcceptedWire, DatabaseOperationWire } from "./operations-wire.js";
import { ROUTE_FORMS, type RouteForm } from "./references.js";
import { snapshotScheduleRoutes } from "./snapshot-schedules.js";
import { Failure } from "./wire.js";

/** The deployments API; its bodies are JSON or forms. */
export async function deploymentsApi(
  app: FastifyInstance,
  { services }: { services: Services },
): Promise<void> {
  for (const schema of [Failure, ApiClientWire, CreatedApiClientWire]) app.addSchema(schema);
  for (const schema of [DatabaseWire, DatabaseStatusWire, CreatedDatabaseWire]) app.addSchema(schema);
  for (const schema of [DatabaseOperationWire, AcceptedWire]) app.addSchema(schema);
  for (const schema of [SnapshotWire, ExportWire, ScheduleWire]) app.addSchema(schema);
  app.addHook("preValidation", bodyMayBeLeftOut);
  app.addHook("preValidation", readForm);
  await app.register(apiClientRoutes, { services });
  await app.register(catalogRoutes, { services });
  await app.register(createDatabaseRoute, { services });
  for (const form of ROUTE_FORMS) await app.register(oneForm, { prefix: form.prefix, services, form });
}

/** All routes of a database, below one prefix. */
async function oneForm(
  app: FastifyInstance,
  { services, form }: { services: Services; form: RouteForm },
): Promise<void> {
  const options = { services, form };
  await app.register(databaseRoutes, options);
  await app.register(commandRoutes, options);
  await app.register(importRoutes, options);
  await app.register(databaseOperationRoutes, options);
  await app.register(archiveRoutes, options);
  await app.register(snapshotScheduleRoutes, options);
}

/** Commands of which nothing more is to be said come without a body. */
async function bodyMayBeLeftOut(request: FastifyRequest): Promise<void> {
  if (request.routeOptions.schema?.body !== undefined) request.body ??= {};
}
