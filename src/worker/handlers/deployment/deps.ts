import type { Plan } from "../../../config/plans.js";
import type { Region } from "../../../config/regions.js";
import type { Engine } from "../../../engines/engine.js";
import type { Substrate } from "../../../engines/substrate.js";
import type { Blobs } from "../../../platform/blobs.js";
import type { MasterKey } from "../../../platform/crypto.js";
import type { Database } from "../../../platform/sql.js";

/** A region as the workers of that place see it. */
export interface Site {
  readonly region: Region;
  readonly substrate: Substrate;
  /** By name; all that Gatehouse knows, whether they can run here or not. */
  readonly engines: ReadonlyMap<string, Engine>;
}

/** What the handlers of deployments' commands work with. */
export interface DeploymentDeps {
  readonly db: Database;
  readonly masterKey: MasterKey;
  readonly blobs: Blobs;
  /** The regions that this worker serves, by name. */
  readonly sites: ReadonlyMap<string, Site>;
  /** The plan of a name; null where the configuration has none such any more. */
  readonly planOf: (id: string) => Plan | null;
}
