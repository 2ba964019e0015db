import type { Sql } from "../../platform/sql.js";
import { blobKeyOf } from "./archives.js";
import { archiveStatements } from "./download.js";
import type { DeploymentRecord } from "./record.js";

/** How they are read: archives that were made to be taken away. */
export const EXPORTS = archiveStatements("deployment_exports");

const INSERT = {
  name: "export_insert",
  text: `INSERT INTO deployment_exports (id, organization_id, project_id, deployment_id, engine, version, blob_key,
           operation_id, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
};

/** The row of an export that an operation is to make. */
export async function insertExport(
  tx: Sql,
  row: DeploymentRecord,
  made: { id: string; operationId: string; createdBy: string },
): Promise<void> {
  await tx.run(INSERT, [
    ...[made.id, row.organizationId, row.projectId, row.id, row.engine, row.version],
    ...[blobKeyOf("deployment_exports", made.id), made.operationId, made.createdBy],
  ]);
}
