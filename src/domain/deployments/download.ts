import type { Readable } from "node:stream";
import type { Principal } from "../../auth/principal.js";
import { BlobError } from "../../platform/blobs.js";
import { conflict, notFound } from "../../platform/errors.js";
import { auditSql } from "../audit/audit.js";
import type { DeploymentDeps } from "./accept.js";
import { engineOf } from "./engines.js";

/** An archive on its way to a client. The stream must be read to its end, or destroyed. */
export interface Download {
  readonly stream: Readable;
  readonly bytes: number;
  readonly fileName: string;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** What is known of an archive that may be taken. */
export interface StoredArchive {
  readonly id: string;
  readonly deploymentId: string;
  readonly deploymentName: string;
  readonly projectId: string;
  readonly engine: string;
  readonly state: "creating" | "available";
  readonly blobKey: string;
  readonly sha256: string | null;
  readonly operationId: string;
}

/** Opens an archive, and writes down who takes it. Throws a conflict while it is still being made. */
export async function openArchive(
  { db, blobs }: DeploymentDeps,
  principal: Principal,
  kind: "snapshot" | "export",
  archive: StoredArchive,
): Promise<Download> {
  const { id, operationId } = archive;
  if (archive.state === "creating" || archive.sha256 === null) {
    throw conflict(`the ${kind} is still being made by operation ${operationId}`, { operationId });
  }
  const { bytes, stream } = await blobs.get(archive.blobKey).catch((error: unknown) => {
    throw error instanceof BlobError && error.reason === "missing" ? notFound(kind) : error;
  });
  const extension = engineOf(archive.engine)?.archiveExtension ?? "archive";
  try {
    await auditSql(db, principal, {
      action: `${kind}.download`,
      target: { type: kind, id },
      projectId: archive.projectId,
      details: { name: archive.deploymentName, databaseId: archive.deploymentId },
    });
  } catch (error) {
    stream.destroy();
    throw error;
  }
  return { stream, bytes, fileName: `${kind}-${id}.${extension}`, sha256: archive.sha256 };
}
