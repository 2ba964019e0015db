import { Acceptor } from "./domain/deployments/acceptor.js";
import { ArchiveCommands } from "./domain/deployments/archive-commands.js";
import { DeploymentCatalog } from "./domain/deployments/catalog.js";
import { Commands } from "./domain/deployments/commands.js";
import { Deployments } from "./domain/deployments/deployments.js";
import { Archives } from "./domain/deployments/download.js";
import { EXPORTS } from "./domain/deployments/exports.js";
import { DeploymentHistory } from "./domain/deployments/history.js";
import type { DeploymentServices } from "./domain/deployments/services.js";
import { SnapshotSchedules } from "./domain/deployments/snapshot-schedules.js";
import { Snapshots } from "./domain/deployments/snapshots.js";
import { Uploads } from "./domain/deployments/uploads.js";
import type { Runtime } from "./runtime.js";

type DeploymentsRuntime = Pick<Runtime, "config" | "prisma" | "db" | "ledger" | "masterKey" | "blobs">;

/** Deployments as both roles see them: the api asks, the worker does what schedules and supervisors ask. */
export function buildDeployments(runtime: DeploymentsRuntime): DeploymentServices {
  const { config, db, blobs } = runtime;
  const catalog = new DeploymentCatalog(db, config.deployments);
  const deps = { ...runtime, catalog };
  const service = new Deployments(deps);
  const acceptor = new Acceptor(deps);
  const commands = new Commands(deps, service, acceptor);
  const archives = new ArchiveCommands(deps, service, acceptor);
  return {
    ...{ service, commands, archives, catalog },
    snapshots: new Snapshots(deps),
    exports: new Archives(deps, "export", EXPORTS),
    schedules: new SnapshotSchedules(deps, service, archives),
    history: new DeploymentHistory(db),
    uploads: new Uploads(blobs, config.importLimitBytes),
  };
}
