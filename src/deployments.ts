import { DeploymentCatalog } from "./domain/deployments/catalog.js";
import { Commands } from "./domain/deployments/commands.js";
import { Deployments } from "./domain/deployments/deployments.js";
import { Exports } from "./domain/deployments/exports.js";
import { DeploymentHistory } from "./domain/deployments/history.js";
import type { DeploymentServices } from "./domain/deployments/services.js";
import { SnapshotSchedules } from "./domain/deployments/snapshot-schedules.js";
import { Snapshots } from "./domain/deployments/snapshots.js";
import { Uploads } from "./domain/deployments/uploads.js";
import { FolderBlobs } from "./platform/blobs.js";
import type { Runtime } from "./runtime.js";

type DeploymentsRuntime = Pick<Runtime, "config" | "prisma" | "db" | "ledger" | "dispatcher" | "masterKey">;

/** Deployments as both roles see them: the api asks, the worker does what schedules and supervisors ask. */
export function buildDeployments(runtime: DeploymentsRuntime): DeploymentServices {
  const { config, db } = runtime;
  const catalog = new DeploymentCatalog(db, config.deployments);
  const blobs = new FolderBlobs(config.blobsRoot);
  const deps = { ...runtime, catalog, blobs };
  const service = new Deployments(deps);
  const commands = new Commands(deps, service);
  return {
    ...{ service, commands, catalog },
    snapshots: new Snapshots(deps),
    exports: new Exports(deps),
    schedules: new SnapshotSchedules(deps, service, commands),
    history: new DeploymentHistory(db),
    uploads: new Uploads(blobs, config.importLimitBytes),
  };
}
