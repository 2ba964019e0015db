import { hostname } from "node:os";
import { createOutboundPolicy } from "./connectors/outbound.js";
import { buildConnectors, catalogOf } from "./connectors/registry.js";
import { buildDeployments } from "./deployments.js";
import { IssuedTokens } from "./domain/access/token-counts.js";
import { AuditEvents } from "./domain/audit/events.js";
import { Connections } from "./domain/connections/connections.js";
import { cleanUpArchives } from "./domain/deployments/cleanup.js";
import { pruneRuns } from "./domain/jobs/retention.js";
import { scheduledJobs } from "./domain/jobs/scheduled.js";
import { Schedules } from "./domain/schedules/engine.js";
import { Outbox } from "./domain/webhooks/outbox.js";
import { DELIVERY_POLICY } from "./domain/webhooks/policy.js";
import { pruneWebhooks } from "./domain/webhooks/retention.js";
import { IdempotencyKeys } from "./operations/idempotency.js";
import { pruneOperations } from "./operations/retention.js";
import { freeLostSlots } from "./operations/slots.js";
import { newId } from "./platform/ids.js";
import { gaugeOf } from "./platform/metrics.js";
import { forbiddenAddresses } from "./reserved.js";
import type { Runtime } from "./runtime.js";
import { openServers } from "./servers.js";
import type { OperationHandler } from "./worker/handler.js";
import { checkHandler } from "./worker/handlers/connection/check.js";
import { discoverHandler } from "./worker/handlers/connection/discover.js";
import { syncHandler } from "./worker/handlers/run/sync.js";
import { type Chore, Housekeeping } from "./worker/housekeeping.js";
import { Runner } from "./worker/runner.js";
import { Scheduler } from "./worker/scheduler.js";
import { Deliverer } from "./worker/webhooks/deliverer.js";
import { observeDeliveries } from "./worker/webhooks/observer.js";
import { Sender } from "./worker/webhooks/sender.js";

/** Secrets of answers are kept for ten minutes, and no hour more; archives are large. */
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

export interface WorkerProcess {
  /** Rejects, with the reason, while it takes no operations. */
  ready(): Promise<void>;
  /** Database servers run on, and are adopted by the next worker, unless the whole installation stops. */
  stop(how?: { readonly withServers: boolean }): Promise<void>;
}

/**
 * Starts to take operations: the dispatcher's sweep and the runner with its handlers.
 * @param more handlers of what the runtime's catalog has besides the product's operations
 */
export async function startWorker(
  runtime: Runtime,
  more: readonly OperationHandler[] = [],
): Promise<WorkerProcess> {
  const { config, prisma, masterKey, metrics, logger } = runtime;
  const connectors = buildConnectors({
    filesRoot: config.filesRoot,
    outboundAllow: config.outboundAllow,
    forbidden: forbiddenAddresses(runtime),
  });
  const connections = new Connections(prisma, catalogOf(connectors), masterKey);
  const workerId = `${hostname()}:${process.pid}:${newId()}`;
  const servers = await openServers(runtime, workerId);
  const runner = new Runner({
    ...runtime,
    handlers: [
      syncHandler({ prisma, connections, connectors }),
      checkHandler(connectors, masterKey),
      discoverHandler(connectors, masterKey),
      ...servers.handlers,
      ...more,
    ],
    timing: config.timing,
    concurrency: config.workerConcurrency,
    regions: config.regions,
    workerId,
  });
  gaugeOf(metrics, "gatehouse_attempts", "Operations that this process works at.", () => runner.running);
  gaugeOf(metrics, "gatehouse_attempts_limit", "How many it works at at most.", () => runner.limit);
  await runner.start();
  runtime.dispatcher.start(config.timing.sweepMs);
  servers.start();
  const books = [scheduledJobs(runtime.ledger), buildDeployments(runtime).schedules];
  const scheduler = new Scheduler(new Schedules(runtime.db, books, logger), logger);
  scheduler.start(config.timing.sweepMs);
  const deliverer = buildDeliverer(runtime, workerId);
  deliverer.start();
  const auditEvents = new AuditEvents(prisma);
  const issuedTokens = new IssuedTokens(prisma);
  const chores: Chore[] = [
    {
      name: "operations",
      run: (signal) => pruneOperations(runtime.db, config.operationRetentionDays, signal),
    },
    { name: "runs", run: (signal) => pruneRuns(runtime.db, config.runRetentionDays, signal) },
    { name: "audit events", run: (signal) => auditEvents.prune(config.auditRetentionDays, signal) },
    {
      name: "webhook deliveries",
      run: (signal) => pruneWebhooks(runtime.db, config.webhookRetentionDays, signal),
    },
    { name: "token counts", run: (signal) => issuedTokens.prune(config.auditRetentionDays, signal) },
  ];
  const housekeeping = new Housekeeping(chores, logger);
  housekeeping.start(HOUR_MS);
  const idempotencyKeys = new IdempotencyKeys(runtime.db, masterKey);
  const often: Chore[] = [
    { name: "idempotency keys", run: (signal) => idempotencyKeys.prune(signal) },
    { name: "lost slots", run: () => freeLostSlots(runtime.db) },
    { name: "archives", run: (signal) => cleanUpArchives(runtime.db, runtime.blobs, signal) },
  ];
  const oftenKeeping = new Housekeeping(often, logger);
  oftenKeeping.start(MINUTE_MS);
  logger.info({ concurrency: config.workerConcurrency, regions: config.regions }, "worker ready");
  let draining = false;
  return {
    ready: async () => {
      if (draining) throw new Error("draining: this process is about to stop");
      await runtime.db.run("SELECT 1").catch(() => Promise.reject(new Error("the database cannot be asked")));
    },
    stop: async ({ withServers } = { withServers: false }) => {
      draining = true;
      await Promise.all([
        servers.stop(),
        scheduler.stop(),
        housekeeping.stop(),
        oftenKeeping.stop(),
        runner.stop(config.graceMs),
        deliverer.stop(config.graceMs),
      ]);
      await runtime.dispatcher.stop();
      if (withServers) await servers.stopAll();
    },
  };
}

/** How webhooks are delivered; deliveries of one worker at a time, in all, of one organization and to one webhook. */
const DELIVERIES = { timeoutMs: 15_000, concurrency: 64, perOrganization: 16, perWebhook: 4 } as const;

function buildDeliverer(runtime: Runtime, workerId: string): Deliverer {
  const { config, db } = runtime;
  const { concurrency, perOrganization, perWebhook, timeoutMs } = DELIVERIES;
  const { leaseMs } = config.timing;
  const outbound = createOutboundPolicy({
    allow: config.outboundAllow,
    forbidden: forbiddenAddresses(runtime),
  });
  return new Deliverer({
    ...runtime,
    timing: config.timing,
    outbox: new Outbox(db, { workerId, leaseMs, perWebhook, policy: DELIVERY_POLICY }),
    sender: new Sender({ outbound, timeoutMs }),
    concurrency,
    perOrganization,
    observe: observeDeliveries(runtime.metrics),
  });
}
