import { findPlan } from "./config/plans.js";
import type { Region } from "./config/regions.js";
import type { Config } from "./config.js";
import { requestRecovery } from "./domain/deployments/recovery.js";
import { createGraphEngine } from "./engines/graph/engine.js";
import { createPostgresEngine } from "./engines/postgres/engine.js";
import { createProcessSubstrate } from "./engines/process/substrate.js";
import { AppError } from "./platform/errors.js";
import type { Runtime } from "./runtime.js";
import type { OperationHandler } from "./worker/handler.js";
import type { DeploymentDeps, Site } from "./worker/handlers/deployment/deps.js";
import { deploymentHandlers } from "./worker/handlers/deployment/handlers.js";
import { stopServers } from "./worker/supervisor/stop-servers.js";
import { Supervisor } from "./worker/supervisor/supervisor.js";

/** The database servers of the regions that a worker serves. */
export interface Servers {
  /** Of the commands on deployments. */
  readonly handlers: readonly OperationHandler[];
  /** Begins to watch over the servers. */
  start(): void;
  /** Watches no longer; the servers run on. */
  stop(): Promise<void>;
  /** Stops all servers in order: the next start brings them back. To be called when nobody works at them any more. */
  stopAll(): Promise<void>;
}

/** Where programs are looked for besides the usual places. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STOP_LIMIT_MS = 15_000;
/** User ids from a region's first on; more than it can ever have ports. */
const USERS = 99_999;

/**
 * @param holder names this process in leases
 */
export async function openServers(runtime: Runtime, holder: string): Promise<Servers> {
  const { config, db, masterKey, blobs, logger } = runtime;
  const { plans } = config.deployments;
  const deps: DeploymentDeps = {
    db,
    masterKey,
    blobs,
    sites: await openSites(config),
    planOf: (id) => findPlan(plans, id),
  };
  const recover = recoverer(runtime);
  const supervisors = [...deps.sites.values()].map(
    (site) => new Supervisor({ ...deps, site, holder, logger, recover }),
  );
  return {
    handlers: deploymentHandlers(deps),
    start: () => {
      for (const supervisor of supervisors) supervisor.start();
    },
    stop: async () => {
      await Promise.all(supervisors.map((supervisor) => supervisor.stop()));
    },
    stopAll: async () => {
      const signal = AbortSignal.timeout(STOP_LIMIT_MS);
      await Promise.all(
        [...deps.sites.values()].map((site) => stopServers({ ...deps, site, logger }, signal)),
      );
    },
  };
}

async function openSites({ regions, deployments }: Config): Promise<Map<string, Site>> {
  const served = deployments.regions.filter(({ name }) => regions.includes(name));
  if (served.length === 0) return new Map();
  const found = await Promise.all([createGraphEngine(), createPostgresEngine(PATH)]);
  const engines = new Map(found.map((engine) => [engine.name as string, engine]));
  return new Map(served.map((region) => [region.name, { region, engines, substrate: substrateOf(region) }]));
}

function substrateOf({ host, substrate: { folder, firstUid } }: Region) {
  const users = firstUid === null ? {} : { users: { first: firstUid, last: firstUid + USERS } };
  return createProcessSubstrate({ root: folder, host, ...users });
}

/** Asks for an operation; one that is at work already will see to the server itself. */
function recoverer({ db, ledger }: Runtime) {
  return async ({ id }: { readonly id: string }): Promise<void> => {
    try {
      await db.transaction((tx) => requestRecovery(tx, ledger, id));
    } catch (error) {
      if (!(error instanceof AppError && error.code === "conflict")) throw error;
    }
  };
}
