import { type Principal, projectFilter } from "../../auth/principal.js";
import { conflict, notFound } from "../../platform/errors.js";
import type { Sql } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import type { Environment } from "../projects/reference.js";
import type { DeploymentDeps } from "./accept.js";
import { type DeploymentRef, requireDestructive } from "./access.js";
import { BEING_RESTORED, blobKeyOf, dropArchive } from "./archives.js";
import { Archives, type ArchiveView, archiveStatements, below } from "./download.js";
import type { DeploymentRecord } from "./record.js";

/** A stored copy, as callers see it. */
export interface SnapshotView extends ArchiveView {
  readonly environment: Environment;
  readonly kind: SnapshotKind;
}

/** Why it was made: somebody asked, a schedule did, or its deployment ended. */
export type SnapshotKind = "demand" | "schedule" | "final";

const SNAPSHOTS = archiveStatements("snapshots", ", a.kind, p.environment");

const INSERT = {
  name: "snapshot_insert",
  text: `INSERT INTO snapshots (id, organization_id, project_id, deployment_id, kind, engine, version, blob_key,
           operation_id, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
};

/** The row of a snapshot that an operation is to make. */
export async function insertSnapshot(
  tx: Sql,
  row: DeploymentRecord,
  made: { id: string; kind: SnapshotKind; operationId: string; createdBy: string },
): Promise<void> {
  await tx.run(INSERT, [
    ...[made.id, row.organizationId, row.projectId, row.id, made.kind, row.engine, row.version],
    ...[blobKeyOf("snapshots", made.id), made.operationId, made.createdBy],
  ]);
}

/** A snapshot to be restored: it stays, at least until the transaction has said who will read it. */
export async function shareSnapshot(tx: Sql, principal: Principal, id: string): Promise<SnapshotView> {
  const found = await one(tx, SNAPSHOTS.share, principal, id);
  if (found.state === "creating") {
    throw conflict(`the snapshot is still being made by operation ${found.operationId}`, {
      operationId: found.operationId,
    });
  }
  return found;
}

async function one(
  sql: Sql,
  statement: typeof SNAPSHOTS.get,
  principal: Principal,
  id: string,
): Promise<SnapshotView> {
  const [row] = await sql.rows<SnapshotView>(statement, [
    principal.organizationId,
    projectFilter(principal),
    id,
  ]);
  if (row === undefined) throw notFound("snapshot");
  return row;
}

/** Reads and deletes stored copies; commands make them. */
export class Snapshots extends Archives<SnapshotView> {
  constructor(deps: DeploymentDeps) {
    super(deps, "snapshot", SNAPSHOTS);
  }

  /** Refused while it is made or restored. Its archive is removed soon after. */
  async delete(principal: Principal, ref: DeploymentRef, id: string): Promise<void> {
    await this.deps.db.transaction(async (tx) => {
      const snapshot = below(ref, "snapshot", await one(tx, SNAPSHOTS.hold, principal, id));
      const { deploymentName: name, environment, projectId, operationId } = snapshot;
      requireDestructive(principal, { name, environment }, "delete a snapshot");
      if (snapshot.state === "creating") {
        throw conflict(`the snapshot is still being made by operation ${operationId}`, { operationId });
      }
      await refuseWhileRestored(tx, id);
      await dropArchive(tx, "snapshots", id);
      await auditSql(tx, principal, {
        action: "snapshot.delete",
        target: { type: "snapshot", id },
        projectId,
        details: { name, databaseId: snapshot.deploymentId },
      });
    });
  }
}

async function refuseWhileRestored(tx: Sql, id: string): Promise<void> {
  const restored = await tx.rows(`SELECT 1 FROM snapshots s WHERE s.id = $1 AND ${BEING_RESTORED}`, [id]);
  if (restored.length > 0)
    throw conflict("the snapshot is being restored: wait for the end of that operation");
}
