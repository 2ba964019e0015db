import type { Environment } from "../projects/reference.js";
import type { DeploymentCatalog } from "./catalog.js";
import { engineOf } from "./engines.js";
import { COLUMNS, type DeploymentRecord } from "./record.js";
import type { EngineVersion } from "./regions.js";

/** What stands for a password. */
export const MASK = "********";

/** A deployment as it is read for callers. */
export interface DeploymentRow extends DeploymentRecord {
  readonly environment: Environment;
  /** The operation that holds it; null: none. */
  readonly operationId: string | null;
}

/** A deployment as callers see it. */
export interface DeploymentView extends DeploymentRow {
  /** What clients call its address; null where it has none (any more). */
  readonly domainName: string | null;
  /** With the password masked, or whole; null where it has no address. */
  readonly connectionUrl: string | null;
  readonly versionView: EngineVersion;
}

/** What a caller must see of it: the tenant's, of projects that it reaches and that exist. */
export const VISIBLE = `d.organization_id = $1 AND ($2::uuid[] IS NULL OR d.project_id = ANY ($2)) AND p.deleted_at IS NULL`;

/** All columns, the project's environment and the operation that holds it; a WHERE follows. */
export const SELECT = `SELECT ${COLUMNS}, p.environment, l.operation_id AS "operationId" FROM deployments d
  JOIN projects p ON p.id = d.project_id
  LEFT JOIN operation_locks l ON l.resource_type = 'deployment' AND l.resource_id = d.id`;

/** Makes views of rows; asks the catalog once. */
export async function viewer(
  catalog: DeploymentCatalog,
): Promise<(row: DeploymentRow, password?: string) => DeploymentView> {
  const describe = await catalog.describeVersions();
  return (row, password = MASK) => {
    const region = catalog.regionOf(row.region);
    const { port } = row;
    const domainName = port === null ? null : (region?.domainName ?? null);
    return {
      ...row,
      domainName,
      connectionUrl:
        port === null || domainName === null
          ? null
          : (engineOf(row.engine)?.connectionUrl(domainName, port, row.username, password) ?? null),
      versionView: describe(row.region, row.engine, row.version) ?? {
        number: row.version,
        edition: "",
        vendor: "",
      },
    };
  };
}
