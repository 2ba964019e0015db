import type { ArchiveCommands } from "./archive-commands.js";
import type { DeploymentCatalog } from "./catalog.js";
import type { Commands } from "./commands.js";
import type { Deployments } from "./deployments.js";
import type { Archives } from "./download.js";
import type { DeploymentHistory } from "./history.js";
import type { SnapshotSchedules } from "./snapshot-schedules.js";
import type { Snapshots } from "./snapshots.js";
import type { Uploads } from "./uploads.js";

/** Everything that can be asked of deployments. */
export interface DeploymentServices {
  readonly service: Deployments;
  readonly commands: Commands;
  readonly archives: ArchiveCommands;
  readonly catalog: DeploymentCatalog;
  readonly snapshots: Snapshots;
  readonly exports: Archives;
  readonly schedules: SnapshotSchedules;
  readonly history: DeploymentHistory;
  readonly uploads: Uploads;
}
