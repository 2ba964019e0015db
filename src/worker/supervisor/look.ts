import type { SupervisedDeployment } from "../../domain/deployments/record.js";
import { openSecrets } from "../../domain/deployments/secrets.js";
import type { Engine, Observed } from "../../engines/engine.js";
import type { PlaceView } from "../../engines/substrate.js";
import type { DeploymentDeps, Site } from "../handlers/deployment/deps.js";

/** A deployment with what is needed to look at its server: nothing of it changes anything. */
export interface Subject {
  readonly deployment: SupervisedDeployment;
  readonly engine: Engine;
  readonly place: PlaceView;
  /** What its engine is asked with: its secrets are opened when that is. */
  readonly observe: () => Observed;
}

/** Null where there is nothing to look at: its engine or plan is gone, or it was given up meanwhile. */
export function subjectOf(
  { masterKey, planOf }: Pick<DeploymentDeps, "masterKey" | "planOf">,
  site: Site,
  deployment: SupervisedDeployment,
): Subject | null {
  const { id, port, username, version, plan: planId } = deployment;
  const engine = site.engines.get(deployment.engine);
  const plan = planOf(planId);
  if (engine === undefined || plan === null || port === null || deployment.secrets === null) return null;
  const { memoryBytes, storageBytes, connections } = plan;
  const place = site.substrate.look({ id, port, limits: { memoryBytes, storageBytes } });
  const observe = (): Observed => {
    const credentials = { username, ...openSecrets(masterKey, deployment) };
    return { id, version, plan: { connections }, credentials, place };
  };
  return { deployment, engine, place, observe };
}

/** What should be done about a server, as far as it can be seen. */
export type Finding =
  | "as it should be"
  /** It should run, and does not. */
  | "down"
  /** It runs, and should not. */
  | "up";

/** By its processes alone: cheap enough for every round. */
export async function glance({ deployment, place }: Subject): Promise<Finding> {
  const { state } = await place.status();
  const shouldRun = deployment.desiredState === "running";
  if (!shouldRun) return state === "stopped" ? "as it should be" : "up";
  return state === "running" ? "as it should be" : "down";
}
