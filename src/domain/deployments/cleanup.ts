import type { Blobs } from "../../platform/blobs.js";
import type { Database } from "../../platform/sql.js";
import { type ArchiveTable, BEING_RESTORED } from "./archives.js";

/** Longer than any request needs from its last byte to the operation that names it. */
const UPLOAD_GRACE_MS = 3_600_000;
/** Longer than any writing takes. */
const UNFINISHED_MS = 2 * 86_400_000;
const BATCH = 100;

const EXPIRE = (table: ArchiveTable) =>
  `UPDATE ${table} SET state = 'deleted' WHERE state = 'available' AND expires_at < now()`;

const UNWANTED = (table: ArchiveTable) =>
  `SELECT s.id, s.blob_key AS "blobKey" FROM ${table} s WHERE s.state = 'deleted'
     ${table === "snapshots" ? `AND NOT ${BEING_RESTORED}` : ""} ORDER BY s.id LIMIT ${BATCH}`;

const UPLOADS = `SELECT o.payload -> 'upload' ->> 'blobKey' AS "blobKey", o.finished_at IS NULL AS needed
  FROM operations o WHERE o.operation_type IN ('deployment.import', 'deployment.clone') AND o.payload -> 'upload' ->> 'blobKey' = ANY ($1::text[])`;

/**
 * Removes archives that nobody wants any more: snapshots and exports that were deleted or have expired, and their
 * rows after them; uploads whose operation has ended or never came; what dead writers left. Says how much.
 * @param signal looked at between archives: a large one may take a while to go
 */
export async function cleanUpArchives(db: Database, blobs: Blobs, signal?: AbortSignal): Promise<number> {
  let removed = 0;
  for (const table of ["snapshots", "deployment_exports"] as const) {
    await db.run(EXPIRE(table));
    removed += await removeUnwanted(db, blobs, table, signal);
  }
  removed += await removeUploads(db, blobs, signal);
  return signal?.aborted === true ? removed : removed + (await blobs.clearUnfinished(UNFINISHED_MS));
}

/** First what is large, then the row that says where it was: dying in between, the next time does it. */
async function removeUnwanted(
  db: Database,
  blobs: Blobs,
  table: ArchiveTable,
  signal?: AbortSignal,
): Promise<number> {
  let removed = 0;
  for (;;) {
    const rows = await db.rows<{ id: string; blobKey: string }>(UNWANTED(table));
    for (const { id, blobKey } of rows) {
      if (signal?.aborted === true) return removed;
      await blobs.delete(blobKey);
      removed += await db.run(`DELETE FROM ${table} WHERE id = $1 AND state = 'deleted'`, [id]);
    }
    if (rows.length < BATCH) return removed;
  }
}

async function removeUploads(db: Database, blobs: Blobs, signal?: AbortSignal): Promise<number> {
  const found = new Map<string, Date>();
  for await (const { key, modifiedAt } of blobs.list("uploads")) found.set(key, modifiedAt);
  if (found.size === 0) return 0;
  const rows = await db.rows<{ blobKey: string; needed: boolean }>(UPLOADS, [[...found.keys()]]);
  const operations = new Map(rows.map(({ blobKey, needed }) => [blobKey, needed]));
  let removed = 0;
  for (const [key, modifiedAt] of found) {
    const needed = operations.get(key) ?? Date.now() - modifiedAt.getTime() < UPLOAD_GRACE_MS;
    if (needed) continue;
    if (signal?.aborted === true) return removed;
    await blobs.delete(key);
    removed += 1;
  }
  return removed;
}
