import type { Readable } from "node:stream";
import { type ArchiveRecord, type ArchiveTable, readArchive } from "../../../domain/deployments/archives.js";
import type {
  ArchiveResult,
  ExportPayload,
  SnapshotPayload,
} from "../../../domain/deployments/operations.js";
import type { Instance } from "../../../engines/engine.js";
import type { HandlerContext } from "../../handler.js";
import { counted } from "./counted.js";
import type { DeploymentDeps } from "./deps.js";
import { impossible } from "./failures.js";
import { type Held, hold } from "./instance.js";

/** Stores a consistent copy, while the server serves. */
export async function snapshot(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: SnapshotPayload,
): Promise<ArchiveResult> {
  const held = await hold(deps, context, payload);
  return storeSnapshot(deps, context, held, payload.snapshotId);
}

/** The same, as a step of any command. */
export async function storeSnapshot(
  deps: DeploymentDeps,
  context: HandlerContext,
  { engine, instance, context: at }: Held,
  snapshotId: string,
): Promise<ArchiveResult> {
  const { blobKey } = await archiveOf(deps, "snapshots", snapshotId);
  return context.step("snapshot", async () => {
    context.progress({ percent: 5, message: "copying" });
    return storeArchive(deps, context, blobKey, await engine.snapshot(instance, at), instance);
  });
}

/** Makes an archive that the engine's own tools read elsewhere. */
export async function exportArchive(
  deps: DeploymentDeps,
  context: HandlerContext,
  payload: ExportPayload,
): Promise<ArchiveResult> {
  const { engine, instance, context: at } = await hold(deps, context, payload);
  const { blobKey } = await archiveOf(deps, "deployment_exports", payload.exportId);
  return context.step("export", async () => {
    context.progress({ percent: 5, message: "exporting" });
    return storeArchive(deps, context, blobKey, await engine.export(instance, at), instance);
  });
}

/** An archive is no larger than what it is of may be, but for what its form adds. */
const ROOM = 2;

/** Keeps the engine's copy of a deployment in the blob store. */
export function storeArchive(
  { blobs }: DeploymentDeps,
  context: HandlerContext,
  blobKey: string,
  bytes: Readable,
  { place }: Instance,
): Promise<ArchiveResult> {
  const maxBytes = ROOM * Math.max(place.limits.storageBytes, place.limits.memoryBytes);
  return blobs.put(blobKey, counted(context, bytes), { maxBytes, signal: context.signal });
}

/**
 * An archive's row; a failure of the operation where it is gone. One that was dropped since the operation was accepted
 * is stored for as long as that needs it.
 */
export async function archiveOf(
  { db }: Pick<DeploymentDeps, "db">,
  table: ArchiveTable,
  id: string,
): Promise<ArchiveRecord> {
  const archive = await readArchive(db, table, id);
  if (archive !== null) return archive;
  throw impossible("archive-gone", "Archive is gone", "the archive was removed meanwhile");
}
