import { type Principal, projectFilter } from "../../auth/principal.js";
import type { Sql } from "../../platform/sql.js";
import type { DeploymentDeps } from "./accept.js";
import type { DeploymentRef } from "./access.js";
import { blobKeyOf } from "./archives.js";
import { type ArchiveView, archiveStatements, below, type Download, openArchive } from "./download.js";
import type { DeploymentRecord } from "./record.js";

const { list: LIST, get: GET } = archiveStatements("deployment_exports");

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

/** Reads archives that were made to be taken away. */
export class Exports {
  readonly #deps: DeploymentDeps;

  constructor(deps: DeploymentDeps) {
    this.#deps = deps;
  }

  /** Of one deployment, newest first. */
  async list(
    principal: Principal,
    deploymentId: string,
    limit: number,
    before: string | null,
  ): Promise<ArchiveView[]> {
    const { organizationId } = principal;
    return this.#deps.db.rows(LIST, [organizationId, projectFilter(principal), deploymentId, before, limit]);
  }

  async get(principal: Principal, ref: DeploymentRef, exportId: string): Promise<ArchiveView> {
    const asked = [principal.organizationId, projectFilter(principal), exportId];
    const [row] = await this.#deps.db.rows<ArchiveView>(GET, asked);
    return below(ref, "export", row);
  }

  /** Its archive; the audit log says who took it. */
  async download(principal: Principal, ref: DeploymentRef, exportId: string): Promise<Download> {
    return openArchive(this.#deps, principal, "export", await this.get(principal, ref, exportId));
  }
}
