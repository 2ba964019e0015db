import type { Plan } from "../../../config/plans.js";
import type { Target } from "../../../domain/deployments/operations.js";
import { type DeploymentRecord, readDeployment } from "../../../domain/deployments/record.js";
import { openSecrets } from "../../../domain/deployments/secrets.js";
import type { Engine, EngineContext, Instance } from "../../../engines/engine.js";
import type { HandlerContext } from "../../handler.js";
import type { DeploymentDeps, Site } from "./deps.js";
import { impossible } from "./failures.js";

/** One deployment in the hands of one attempt. */
export interface Held {
  readonly record: DeploymentRecord;
  readonly site: Site;
  readonly engine: Engine;
  readonly instance: Instance;
  readonly context: EngineContext;
}

/** What is to be different from what the deployment's row says. */
export interface Changes {
  readonly plan?: Plan;
  readonly password?: string;
}

/**
 * Opens a deployment's place under the fence of this attempt, with what its row says now.
 * @param signal another one than the attempt's, for what is put right after that was aborted
 */
export async function hold(
  deps: DeploymentDeps,
  context: HandlerContext,
  target: Target,
  changes: Changes = {},
  signal: AbortSignal = context.signal,
): Promise<Held> {
  const record = await readDeployment(deps.db, target.deploymentId);
  if (record === null || record.port === null) {
    throw impossible("terminated", "Database is gone", "the database was terminated meanwhile");
  }
  const site = siteOf(deps, record.region);
  const engine = engineOf(site, record.engine);
  const plan = changes.plan ?? planOf(deps, record);
  const secrets = openSecrets(deps.masterKey, record);
  const { id, port, username, version } = record;
  const limits = { memoryBytes: plan.memoryBytes, storageBytes: plan.storageBytes };
  const fence = { command: target.command, attempt: context.operation.attempt };
  const place = await site.substrate.open({ id, port, limits }, fence, signal);
  const instance: Instance = {
    id,
    version,
    place,
    plan: { connections: plan.connections },
    credentials: {
      username,
      password: changes.password ?? secrets.password,
      adminSecret: secrets.adminSecret,
    },
  };
  const log: EngineContext["log"] = (level, message) => context.logger[level]({ deploymentId: id }, message);
  return { record, site, engine, instance, context: { signal, log } };
}

export function siteOf({ sites }: Pick<DeploymentDeps, "sites">, region: string): Site {
  const site = sites.get(region);
  if (site !== undefined) return site;
  throw impossible(
    "unknown-region",
    "Region is not served",
    `this worker does not serve the region ${region}`,
  );
}

export function engineOf({ engines, region }: Site, name: string): Engine {
  const engine = engines.get(name);
  if (engine === undefined)
    throw impossible("unknown-engine", "Engine is unknown", `there is no engine ${name}`);
  if (engine.versions.length > 0) return engine;
  const detail = `${name} cannot run in the region ${region.name}: ${engine.missing ?? "it is not installed"}`;
  throw impossible("not-installed", "Engine is not installed", detail);
}

/** The plan of a deployment. Where it is no longer configured, that has to be mended first. */
function planOf(deps: DeploymentDeps, { plan: id }: DeploymentRecord): Plan {
  const plan = deps.planOf(id);
  if (plan !== null) return plan;
  const detail = `the plan ${id} is no longer configured: put it back, or change to another`;
  throw impossible("unknown-plan", "Plan is unknown", detail);
}
