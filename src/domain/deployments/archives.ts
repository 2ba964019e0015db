import type { Sql } from "../../platform/sql.js";
import type { ArchiveResult } from "./operations.js";

/** What is kept of an archive that an operation has made or not. */
export type ArchiveTable = "snapshots" | "deployment_exports";

/** How long an export can be downloaded. */
export const EXPORT_HOURS = 24;

/** A stored archive, for whoever reads it. */
export interface ArchiveRecord {
  readonly id: string;
  readonly deploymentId: string;
  readonly engine: string;
  readonly version: string;
  readonly blobKey: string;
  readonly bytes: number | null;
  readonly sha256: string | null;
  readonly state: "creating" | "available" | "deleted";
}

const READ = (table: ArchiveTable) => ({
  name: `${table}_read`,
  text: `SELECT id, deployment_id AS "deploymentId", engine, version, blob_key AS "blobKey", bytes::float8 AS bytes, sha256, state
         FROM ${table} WHERE id = $1`,
});

/** Whoever asks: for workers. Null where there is none. */
export async function readArchive(sql: Sql, table: ArchiveTable, id: string): Promise<ArchiveRecord | null> {
  const [row] = await sql.rows<ArchiveRecord>(READ(table), [id]);
  return row ?? null;
}

/** Where the archive of a snapshot or an export is stored. */
export function blobKeyOf(table: ArchiveTable | "uploads", id: string): string {
  return `${table === "deployment_exports" ? "exports" : table}/${id}`;
}

/** An archive is there, whole. */
export async function keepArchive(tx: Sql, table: ArchiveTable, id: string, result: ArchiveResult) {
  const expires = table === "deployment_exports" ? `now() + interval '${EXPORT_HOURS} hours'` : "expires_at";
  await tx.run(
    `UPDATE ${table} SET state = 'available', bytes = $2, sha256 = $3, finished_at = now(), expires_at = ${expires}
     WHERE id = $1 AND state = 'creating'`,
    [id, result.bytes, result.sha256],
  );
}

/** It is not, or no longer: a chore removes what is in the blob store, then the row. */
export async function dropArchive(tx: Sql, table: ArchiveTable, id: string): Promise<void> {
  await tx.run(`UPDATE ${table} SET state = 'deleted' WHERE id = $1`, [id]);
}

/** Whether an operation still has to read a snapshot `s`: any number may, so it is no lock. */
export const BEING_RESTORED = `EXISTS (SELECT 1 FROM operations o
  WHERE o.operation_type = 'deployment.restore' AND o.status IN ('pending', 'running', 'cancelling')
    AND o.payload ->> 'snapshotId' = s.id::text)`;

const RETAIN = {
  name: "snapshots_retain",
  text: `UPDATE snapshots SET state = 'deleted' WHERE id IN (
           SELECT id FROM snapshots s
           WHERE deployment_id = $1 AND state = 'available' AND kind = ANY ($2::text[])
             AND NOT ${BEING_RESTORED}
           ORDER BY id DESC OFFSET $3)`,
};

/** Lets the oldest snapshots go beyond what the plan, and the schedule within it, keep. One that is being restored stays. */
export async function retainSnapshots(tx: Sql, deploymentId: string, ofPlan: number): Promise<void> {
  const [schedule] = await tx.rows<{ keep: number | null }>(
    "SELECT keep FROM snapshot_schedules WHERE deployment_id = $1",
    [deploymentId],
  );
  if (typeof schedule?.keep === "number") {
    await tx.run(RETAIN, [deploymentId, ["schedule"], schedule.keep]);
  }
  await tx.run(RETAIN, [deploymentId, ["demand", "schedule"], ofPlan]);
}

/** Of a deployment that has ended: its snapshots stay for some days, its exports go. */
export async function endArchives(tx: Sql, deploymentId: string, daysAfterEnd: number): Promise<void> {
  await tx.run(
    `UPDATE snapshots SET expires_at = now() + $2::int * interval '1 day'
     WHERE deployment_id = $1 AND state = 'available'`,
    [deploymentId, daysAfterEnd],
  );
  await tx.run(
    "UPDATE deployment_exports SET state = 'deleted' WHERE deployment_id = $1 AND state = 'available'",
    [deploymentId],
  );
}
