import { setTimeout as delay } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import { type Access, openAccess } from "./access.js";
import { buildApp, type Limits } from "./app.js";
import { hashesOf } from "./auth/master-keys.js";
import type { Config } from "./config.js";
import { buildConnectors, catalogOf } from "./connectors/registry.js";
import { buildDeployments } from "./deployments.js";
import { ApiKeys } from "./domain/access/api-keys.js";
import { ClientSecrets } from "./domain/access/client-secrets.js";
import { Clients } from "./domain/access/clients.js";
import { Organizations } from "./domain/access/organizations.js";
import { RegisteredResourceServers } from "./domain/access/resource-servers.js";
import { IssuedTokens } from "./domain/access/token-counts.js";
import { Users } from "./domain/access/users.js";
import { AuditEvents } from "./domain/audit/events.js";
import { Connections } from "./domain/connections/connections.js";
import { Probes } from "./domain/connections/probe.js";
import { Cancellations } from "./domain/jobs/cancel.js";
import { JobSchedules } from "./domain/jobs/job-schedules.js";
import { Jobs } from "./domain/jobs/jobs.js";
import { Retries } from "./domain/jobs/retry.js";
import { Syncs } from "./domain/jobs/sync.js";
import { Projects } from "./domain/projects/projects.js";
import { Logs } from "./domain/runs/logs.js";
import { Runs } from "./domain/runs/runs.js";
import { Alerts } from "./domain/webhooks/alerts.js";
import { Deliveries } from "./domain/webhooks/deliveries.js";
import { Hastening } from "./domain/webhooks/hastening.js";
import { Webhooks } from "./domain/webhooks/webhooks.js";
import { DRAINING } from "./http/health-drain.js";
import type { Services } from "./http/services.js";
import { Durations } from "./operations/durations.js";
import { IdempotencyKeys } from "./operations/idempotency.js";
import { Waiters } from "./operations/waiters.js";
import { buildPeople } from "./people.js";
import { listenPatiently } from "./platform/listen.js";
import { gaugeOf } from "./platform/metrics.js";
import type { Runtime } from "./runtime.js";
import { VERSION } from "./version.js";

export interface ApiProcess {
  readonly app: FastifyInstance;
  /** Rejects, with the reason, while requests should be sent elsewhere. */
  ready(): Promise<void>;
  /** @param how whether it goes on for `drainMs` before, so that load balancers learn of it from `/readyz` */
  stop(how?: { readonly lingers: boolean }): Promise<void>;
}

/** The services that routes call. Connectors are there for their specs alone: only workers run them. */
export function buildServices(
  runtime: Omit<Runtime, "close" | "queue" | "metrics" | "tracer">,
  waiters: Waiters,
  access: Pick<Access, "clock" | "counters">,
): Services {
  const { config, prisma, db, ledger, dispatcher, masterKey, signals, logger } = runtime;
  const { filesRoot, outboundAllow } = config;
  const catalog = catalogOf(buildConnectors({ filesRoot, outboundAllow, forbidden: [] }));
  const connections = new Connections(prisma, catalog, masterKey);
  const jobs = new Jobs(prisma, connections);
  const changed = (clientId: string): void => void signals.publish("access.changed", clientId);
  const holders = { prisma, masterKey, clock: access.clock, changed };
  const due = (): void => void signals.publish("webhook.due", "");
  const hastening = new Hastening({ db, logger, due });
  const webhooks = new Webhooks({ prisma, masterKey, clock: access.clock, hastening });
  return {
    projects: new Projects(prisma),
    connections,
    catalog,
    probes: new Probes({ ledger, waiters, connections, masterKey }),
    jobs,
    jobSchedules: new JobSchedules(prisma, jobs),
    syncs: new Syncs(db, ledger),
    cancellations: new Cancellations({ db, dispatcher, signals }),
    retries: new Retries({ db, ledger, signals }),
    runs: new Runs(prisma),
    logs: new Logs(prisma),
    deployments: buildDeployments(runtime),
    ledger,
    waiters,
    durations: new Durations(db),
    idempotency: {
      keys: new IdempotencyKeys(db, masterKey),
      hashesOf: (content) => hashesOf(masterKey, "idempotency-answers", content).map(({ hash }) => hash),
    },
    auditEvents: new AuditEvents(prisma),
    organizations: new Organizations(holders),
    users: new Users(holders),
    clients: new Clients(holders),
    clientSecrets: new ClientSecrets(holders),
    issuedTokens: new IssuedTokens(prisma),
    resourceServers: new RegisteredResourceServers(prisma, config.publicUrl),
    apiKeys: new ApiKeys(holders),
    webhooks,
    deliveries: new Deliveries({ prisma, due }),
    alerts: new Alerts({ prisma, webhooks, hastening }),
    ...buildPeople(runtime, access),
  };
}

const WAITERS_HELP = "Clients of this process that wait for an operation, or follow one.";
/** From the word to stop until what has begun has to have ended: also what begins while load balancers learn of it. */
const DRAIN_LIMIT_MS = 20_000;

/** Opens what the api needs and listens. */
export async function startApi(runtime: Runtime): Promise<ApiProcess> {
  const { config, logger, metrics, tracer, db, signals } = runtime;
  const access = await openAccess(runtime);
  const waiters = new Waiters(db, signals);
  gaugeOf(metrics, "gatehouse_waiters", WAITERS_HELP, () => waiters.count);
  const app = await buildApp({
    version: VERSION,
    ...{ logger, metrics, tracer },
    corsOrigins: config.corsOrigins,
    trustProxy: config.trustProxy,
    services: buildServices(runtime, waiters, access),
    access,
    limits: limitsOf(config),
  });
  await listenPatiently(() => app.listen({ port: config.port, host: config.host }));
  const stop = async ({ lingers } = { lingers: false }): Promise<void> => {
    const lingerMs = lingers ? config.drainMs : 0;
    app.drain.announce();
    if (lingerMs > 0) await delay(lingerMs);
    const drained = app.drain.settle(DRAIN_LIMIT_MS - lingerMs);
    // Who waits for an operation, or follows one, is let go.
    waiters.close();
    await drained;
    await closeWithin(app, CLOSE_LIMIT_MS);
    await access.close();
  };
  const ready = async (): Promise<void> => {
    if (app.drain.draining) throw new Error(DRAINING);
    await access.ready().catch(() => Promise.reject(new Error("the database cannot be asked")));
  };
  return { app, ready, stop };
}

/** The rest of the 30 s that a stop may take. */
const CLOSE_LIMIT_MS = 5_000;

async function closeWithin(app: FastifyInstance, limitMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), limitMs);
  await app.close();
  clearTimeout(timer);
}

const MINUTE_MS = 60_000;

/** The limits of the configuration, as policies with the names that stand in the headers. */
export function limitsOf({ limits }: Config): Limits {
  const perMinute = (name: string, quota: number) => ({ name, quota, windowMs: MINUTE_MS });
  return {
    requestsPerPrincipal: perMinute("requests", limits.requests),
    failuresPerAddress: perMinute("failed-credentials", limits.failures),
    tokensPerClient: perMinute("tokens-of-client", limits.tokensPerClient),
    tokensPerAddress: perMinute("tokens-of-address", limits.tokensPerAddress),
  };
}
