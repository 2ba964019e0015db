import type { Principal } from "../../auth/principal.js";
import type { Operation } from "../../operations/operation.js";
import { conflict, invalid } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import type { Sql } from "../../platform/sql.js";
import type { OnAccept } from "../jobs/sync.js";
import type { DeploymentDeps } from "./accept.js";
import type { Acceptor, Plan } from "./acceptor.js";
import {
  type DeploymentRef,
  type HeldDeployment,
  holdOne,
  requireBeginning,
  requireDestructive,
} from "./access.js";
import type { Deployments } from "./deployments.js";
import { insertExport } from "./exports.js";
import type { ImportPayload } from "./operations.js";
import { insertSnapshot, type SnapshotKind, shareSnapshot } from "./snapshots.js";

export interface RestoreInput {
  readonly snapshotId: string;
  /** Into which deployment; absent: the one that is addressed, of which the snapshot then need not be. */
  readonly databaseId?: string | undefined;
}

/** Accepts commands that make archives, or put them in the place of data. */
export class ArchiveCommands {
  readonly #deps: DeploymentDeps;
  readonly #deployments: Deployments;
  readonly #acceptor: Acceptor;

  constructor(deps: DeploymentDeps, deployments: Deployments, acceptor: Acceptor) {
    this.#deps = deps;
    this.#deployments = deployments;
    this.#acceptor = acceptor;
  }

  /** Stores a copy, under an id that the caller chooses. Throws a conflict where the plan keeps none. */
  snapshot(
    principal: Principal,
    ref: DeploymentRef,
    snapshotId: string,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const plan: Plan<"snapshot"> = (tx, on) => this.planSnapshot(tx, principal, on, "demand", snapshotId);
    return this.#acceptor.accept("snapshot", principal, ref, plan, onAccept);
  }

  /** The same for a deployment that is held already. */
  async planSnapshot(
    tx: Sql,
    principal: Principal,
    on: HeldDeployment,
    kind: SnapshotKind,
    snapshotId: string = newId(),
  ) {
    if (this.#deps.catalog.planOf(on.plan)?.snapshots === 0) {
      throw conflict(`the plan ${on.plan} keeps no snapshots: change the plan, or export`);
    }
    const operationId = newId();
    await insertSnapshot(tx, on, { id: snapshotId, kind, operationId, createdBy: principal.name });
    return { operationId, extra: { snapshotId }, details: { snapshotId, kind } };
  }

  /** Puts a snapshot in the place of the data: of the same engine, of whichever deployment that the caller reaches. */
  restore(
    principal: Principal,
    ref: DeploymentRef,
    { snapshotId, databaseId }: RestoreInput,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const target = databaseId === undefined ? ref : { id: databaseId, engine: null };
    const plan: Plan<"restore"> = async (tx, on) => {
      // Whoever addresses one and restores into another says of which the snapshot is.
      if (databaseId !== undefined) await this.#requireVisible(tx, principal, ref);
      const snapshot = await shareSnapshot(tx, principal, snapshotId);
      if (databaseId !== undefined && snapshot.deploymentId !== ref.id) {
        throw wrongSnapshot("is no snapshot of this database");
      }
      if (snapshot.engine !== on.engine) {
        throw wrongSnapshot(`is of ${snapshot.engine}, and the database of ${on.engine}`);
      }
      requireDestructive(principal, on, "restore into it");
      const from = snapshot.deploymentId;
      return { extra: { snapshotId, from }, details: { snapshotId, from } };
    };
    return this.#acceptor.accept("restore", principal, target, plan, onAccept);
  }

  async #requireVisible(sql: Sql, principal: Principal, ref: DeploymentRef): Promise<void> {
    await this.#deployments.find(sql, principal, ref);
  }

  /** Throws, without changing anything, where an import would be refused: to be asked before an archive is sent. */
  async requireImportable(principal: Principal, ref: DeploymentRef): Promise<void> {
    await this.#deps.db.transaction(async (tx) => {
      const on = await holdOne(tx, principal, ref);
      requireDestructive(principal, on, "import into it");
      await requireBeginning(tx, "import", [on]);
    });
  }

  /** @param upload stored, and removed some time after the operation's end */
  import(
    principal: Principal,
    ref: DeploymentRef,
    upload: ImportPayload["upload"],
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const plan: Plan<"import"> = async (_tx, on) => {
      requireDestructive(principal, on, "import into it");
      return { extra: { upload }, details: { bytes: upload.bytes, sha256: upload.sha256 } };
    };
    return this.#acceptor.accept("import", principal, ref, plan, onAccept);
  }

  /** Makes an archive to be downloaded, under an id that the caller chooses. */
  export(
    principal: Principal,
    ref: DeploymentRef,
    exportId: string,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const plan: Plan<"export"> = async (tx, on) => {
      const operationId = newId();
      await insertExport(tx, on, { id: exportId, operationId, createdBy: principal.name });
      return { operationId, extra: { exportId }, details: { exportId } };
    };
    return this.#acceptor.accept("export", principal, ref, plan, onAccept);
  }
}

function wrongSnapshot(message: string) {
  return invalid(`/snapshotId ${message}`, [{ path: "/snapshotId", message }]);
}
