import { setTimeout as delay } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import { type AppDeps, buildApp } from "./app.js";
import { createAccessRecords } from "./auth/access-records.js";
import { openSigningKeys } from "./auth/keys.js";
import { builtInResourceServers } from "./auth/resource-servers.js";
import { createTokenEndpoint } from "./auth/token-endpoint.js";
import { TokenVerifier } from "./auth/verifier.js";
import { buildConnectors, catalogOf } from "./connectors/registry.js";
import { Connections } from "./domain/connections/connections.js";
import { Probes } from "./domain/connections/probe.js";
import { Jobs } from "./domain/jobs/jobs.js";
import { Syncs } from "./domain/jobs/sync.js";
import { Projects } from "./domain/projects/projects.js";
import { Logs } from "./domain/runs/logs.js";
import { Runs } from "./domain/runs/runs.js";
import type { Services } from "./http/services.js";
import { Waiters } from "./operations/waiters.js";
import { systemClock } from "./platform/clock.js";
import type { Runtime } from "./runtime.js";
import { VERSION } from "./version.js";

export interface ApiProcess {
  readonly app: FastifyInstance;
  stop(): Promise<void>;
}

/** The services that routes call. Connectors are there for their specs alone: only workers run them. */
export function buildServices(runtime: Omit<Runtime, "close" | "queue">, waiters: Waiters): Services {
  const { config, prisma, db, ledger, dispatcher, masterKey } = runtime;
  const { filesRoot, outboundAllow } = config;
  const catalog = catalogOf(buildConnectors({ filesRoot, outboundAllow, forbidden: [] }));
  const connections = new Connections(prisma, catalog, masterKey);
  return {
    projects: new Projects(prisma),
    connections,
    catalog,
    probes: new Probes({ db, ledger, dispatcher, waiters, connections, masterKey }),
    jobs: new Jobs(prisma, connections),
    syncs: new Syncs(db, ledger, dispatcher),
    runs: new Runs(prisma),
    logs: new Logs(prisma),
    ledger,
  };
}

/** Opens what the api needs and listens. */
export async function startApi(runtime: Runtime): Promise<ApiProcess> {
  const { config, logger, prisma, db, signals, masterKey } = runtime;
  const clock = systemClock;
  const { publicUrl } = config;
  const keys = await openSigningKeys({ prisma, masterKey, clock, logger });
  const records = createAccessRecords({ sql: db, logger });
  const resourceServers = builtInResourceServers(publicUrl);
  const verifier = new TokenVerifier({ publicUrl, keys, resourceServers, clock });
  const tokens = createTokenEndpoint({ publicUrl, keys, records, resourceServers, masterKey, clock, logger });
  const waiters = new Waiters(db, signals);
  const deps: AppDeps = {
    version: VERSION,
    logger,
    clock,
    corsOrigins: config.corsOrigins,
    services: buildServices(runtime, waiters),
    keys,
    tokens,
    verifier,
    accessRecords: records,
    ready: async () => {
      await db.run("SELECT 1");
    },
  };
  const app = await buildApp(deps);
  await listen(app, config);
  const stop = async (): Promise<void> => {
    waiters.close();
    await app.close();
    keys.close();
    records.close();
  };
  return { app, stop };
}

/** Killed launchers leave an api that takes a moment to let the port go. */
const PORT_PATIENCE_MS = 5_000;

async function listen(app: FastifyInstance, { port, host }: Runtime["config"]): Promise<void> {
  const deadline = Date.now() + PORT_PATIENCE_MS;
  for (;;) {
    try {
      await app.listen({ port, host });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || Date.now() > deadline) throw error;
      await delay(100);
    }
  }
}
