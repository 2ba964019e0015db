import { type Principal, projectFilter } from "../../auth/principal.js";
import { notFound } from "../../platform/errors.js";
import type { Sql } from "../../platform/sql.js";
import type { DeploymentDeps } from "./accept.js";
import type { DeploymentRef } from "./access.js";
import { blobKeyOf } from "./archives.js";
import { type Download, openArchive, type StoredArchive } from "./download.js";
import type { DeploymentRecord } from "./record.js";

/** An archive that was made to be taken away, as callers see it. */
export interface ExportView extends StoredArchive {
  readonly version: string;
  readonly bytes: number | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
  readonly expiresAt: Date | null;
}

const SELECT = `SELECT e.id, e.deployment_id AS "deploymentId", d.name AS "deploymentName", e.state, e.engine, e.version,
    e.project_id AS "projectId", e.blob_key AS "blobKey", e.bytes::float8 AS bytes, e.sha256,
    e.operation_id AS "operationId", e.created_at AS "createdAt", e.finished_at AS "finishedAt", e.expires_at AS "expiresAt"
  FROM deployment_exports e JOIN deployments d ON d.id = e.deployment_id JOIN projects p ON p.id = e.project_id
  WHERE e.organization_id = $1 AND ($2::uuid[] IS NULL OR e.project_id = ANY ($2)) AND p.deleted_at IS NULL
    AND e.state <> 'deleted' AND (e.expires_at IS NULL OR e.expires_at > now()) AND e.deployment_id = $3`;

const LIST = {
  name: "exports_list",
  text: `${SELECT} AND ($4::uuid IS NULL OR e.id < $4) ORDER BY e.id DESC LIMIT $5`,
};
const GET = { name: "export_get", text: `${SELECT} AND e.id = $4` };

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
  ): Promise<ExportView[]> {
    const { organizationId } = principal;
    return this.#deps.db.rows(LIST, [organizationId, projectFilter(principal), deploymentId, before, limit]);
  }

  async get(principal: Principal, { id, engine }: DeploymentRef, exportId: string): Promise<ExportView> {
    const { organizationId } = principal;
    const [row] = await this.#deps.db.rows<ExportView>(GET, [
      organizationId,
      projectFilter(principal),
      id,
      exportId,
    ]);
    if (row === undefined || (engine !== null && row.engine !== engine)) throw notFound("export");
    return row;
  }

  /** Its archive; the audit log says who took it. */
  async download(principal: Principal, ref: DeploymentRef, exportId: string): Promise<Download> {
    return openArchive(this.#deps, principal, "export", await this.get(principal, ref, exportId));
  }
}
