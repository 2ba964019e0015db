import type { Readable } from "node:stream";
import { type Principal, projectFilter } from "../../auth/principal.js";
import { BlobError } from "../../platform/blobs.js";
import { conflict, notFound } from "../../platform/errors.js";
import { auditSql } from "../audit/audit.js";
import type { DeploymentDeps } from "./accept.js";
import type { DeploymentRef } from "./access.js";
import type { ArchiveTable } from "./archives.js";
import { engineOf } from "./engines.js";

/** An archive on its way to a client. The stream must be read to its end, or destroyed. */
export interface Download {
  readonly stream: Readable;
  readonly bytes: number;
  readonly fileName: string;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** An archive as callers see it. */
export interface ArchiveView {
  readonly id: string;
  readonly deploymentId: string;
  readonly deploymentName: string;
  readonly projectId: string;
  readonly state: "creating" | "available";
  readonly engine: string;
  readonly version: string;
  readonly blobKey: string;
  readonly bytes: number | null;
  readonly sha256: string | null;
  readonly operationId: string;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
  readonly expiresAt: Date | null;
}

/**
 * How archives `a` are read for callers: the tenant's, of projects that they reach; nothing that waits to be removed.
 * `list` takes a deployment, the id that was last and how many; `get` and what begins like it an id.
 * @param more columns besides those of `ArchiveView`
 */
export function archiveStatements(table: ArchiveTable, more = "") {
  const select = `SELECT a.id, a.deployment_id AS "deploymentId", d.name AS "deploymentName", a.project_id AS "projectId",
      a.state, a.engine, a.version, a.blob_key AS "blobKey", a.bytes::float8 AS bytes, a.sha256,
      a.operation_id AS "operationId", a.created_at AS "createdAt", a.finished_at AS "finishedAt",
      a.expires_at AS "expiresAt"${more}
    FROM ${table} a JOIN deployments d ON d.id = a.deployment_id JOIN projects p ON p.id = a.project_id
    WHERE a.organization_id = $1 AND ($2::uuid[] IS NULL OR a.project_id = ANY ($2)) AND p.deleted_at IS NULL
      AND a.state <> 'deleted' AND (a.expires_at IS NULL OR a.expires_at > now())`;
  const page = "AND a.deployment_id = $3 AND ($4::uuid IS NULL OR a.id < $4) ORDER BY a.id DESC LIMIT $5";
  const one = `${select} AND a.id = $3`;
  return {
    list: { name: `${table}_list`, text: `${select} ${page}` },
    get: { name: `${table}_get`, text: one },
    share: { name: `${table}_share`, text: `${one} FOR SHARE OF a` },
    hold: { name: `${table}_hold`, text: `${one} FOR UPDATE OF a` },
  };
}

/** What stands below a deployment is its own: anything else is not found there. */
export function below<A extends ArchiveView>(
  { id, engine }: DeploymentRef,
  kind: "snapshot" | "export",
  archive: A | undefined,
): A {
  if (
    archive === undefined ||
    archive.deploymentId !== id ||
    (engine !== null && archive.engine !== engine)
  ) {
    throw notFound(kind);
  }
  return archive;
}

/** Reads archives of one kind for callers. */
export class Archives<A extends ArchiveView = ArchiveView> {
  protected readonly deps: DeploymentDeps;
  readonly #kind: "snapshot" | "export";
  readonly #statements: Pick<ReturnType<typeof archiveStatements>, "list" | "get">;

  constructor(
    deps: DeploymentDeps,
    kind: "snapshot" | "export",
    statements: Pick<ReturnType<typeof archiveStatements>, "list" | "get">,
  ) {
    this.deps = deps;
    this.#kind = kind;
    this.#statements = statements;
  }

  /** Of one deployment, also of one that has ended; newest first. */
  list(principal: Principal, deploymentId: string, limit: number, before: string | null): Promise<A[]> {
    const asked = [principal.organizationId, projectFilter(principal), deploymentId, before, limit];
    return this.deps.db.rows<A>(this.#statements.list, asked);
  }

  async get(principal: Principal, ref: DeploymentRef, id: string): Promise<A> {
    const asked = [principal.organizationId, projectFilter(principal), id];
    const [row] = await this.deps.db.rows<A>(this.#statements.get, asked);
    return below(ref, this.#kind, row);
  }

  /** Its archive; the audit log says who took it. */
  async download(principal: Principal, ref: DeploymentRef, id: string): Promise<Download> {
    return openArchive(this.deps, principal, this.#kind, await this.get(principal, ref, id));
  }
}

/** Opens an archive, and writes down who takes it. Throws a conflict while it is still being made. */
async function openArchive(
  { db, blobs }: DeploymentDeps,
  principal: Principal,
  kind: "snapshot" | "export",
  archive: ArchiveView,
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
