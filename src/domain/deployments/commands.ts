import type { Principal } from "../../auth/principal.js";
import type { Operation } from "../../operations/operation.js";
import { conflict, invalid } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import type { Sql } from "../../platform/sql.js";
import type { OnAccept } from "../jobs/sync.js";
import { type Acceptance, acceptCommand, beginOn, type DeploymentDeps } from "./accept.js";
import {
  type DeploymentRef,
  type HeldDeployment,
  holdOne,
  holdVisible,
  requireBeginning,
  requireDestructive,
} from "./access.js";
import { type Choice, requireRoom } from "./catalog.js";
import { type Deployments, insertDeployment, nameTaken } from "./deployments.js";
import { insertExport } from "./exports.js";
import { DEPLOYMENT, type ImportPayload } from "./operations.js";
import { newPassword, sealPassword } from "./secrets.js";
import { insertSnapshot, type SnapshotKind, shareSnapshot } from "./snapshots.js";
import type { Command } from "./state.js";

export interface CloneInput {
  /** Of the new one, chosen by the caller. */
  readonly id: string;
  readonly name: string;
  /** Id, slug or number of a project; absent: the one of the deployment that is copied. */
  readonly project?: string | undefined;
  readonly plan?: string | undefined;
  readonly region?: string | undefined;
}

export interface RestoreInput {
  readonly snapshotId: string;
  /** Into which deployment; absent: the one that is addressed, of which the snapshot then need not be. */
  readonly databaseId?: string | undefined;
}

/** What a command does in its transaction, once it may begin. */
type Plan<C extends Command> = (
  tx: Sql,
  on: HeldDeployment,
) => Promise<Omit<Acceptance<C>, "command" | "on">>;

const nothing = async () => ({ extra: {} });

/**
 * Accepts commands on deployments: state, locks, operation and audit event in one transaction, or a conflict that
 * says what is in the way. What they do to servers is done by the workers of the deployment's region.
 */
export class Commands {
  readonly #deps: DeploymentDeps;
  readonly #deployments: Deployments;

  constructor(deps: DeploymentDeps, deployments: Deployments) {
    this.#deps = deps;
    this.#deployments = deployments;
  }

  pause(principal: Principal, ref: DeploymentRef, onAccept?: OnAccept): Promise<Operation> {
    return this.#accept("pause", principal, ref, nothing, onAccept);
  }

  resume(principal: Principal, ref: DeploymentRef, onAccept?: OnAccept): Promise<Operation> {
    return this.#accept("resume", principal, ref, nothing, onAccept);
  }

  /** @param reset also forgets its failed starts, so that nothing waits for a next try */
  restart(principal: Principal, ref: DeploymentRef, reset: boolean, onAccept?: OnAccept): Promise<Operation> {
    return this.#accept("restart", principal, ref, async () => ({ extra: { reset } }), onAccept);
  }

  /** A second deployment, with an address and a password of its own, in the same region. */
  async clone(
    principal: Principal,
    ref: DeploymentRef,
    input: CloneInput,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const { project: reference } = input;
    const chosen = reference === undefined ? null : await this.#deployments.projectOf(principal, reference);
    const plan: Plan<"clone"> = async (tx, on) => {
      const choice = this.#choiceFor(on, input);
      const project = chosen ?? { id: on.projectId, organizationId: on.organizationId };
      const clone = await insertDeployment(tx, this.#deps, principal, project, input, choice);
      const other = await beginOn(tx, "create", clone);
      const locks = [{ type: DEPLOYMENT, id: clone.id }];
      return { extra: { other }, locks, details: { clone: clone.id, cloneName: input.name } };
    };
    return this.#accept("clone", principal, ref, plan, onAccept).catch((error: unknown) => {
      throw nameTaken(error, input.name);
    });
  }

  #choiceFor(on: HeldDeployment, { plan, region }: CloneInput): Choice {
    const { catalog } = this.#deps;
    const { engine, version, extras } = on;
    if (region !== undefined && region !== on.region) {
      const message = `must be ${on.region}: a clone is made beside its database; to move it, export and import`;
      throw invalid(`/region ${message}`, [{ path: "/region", message }]);
    }
    const place = catalog.regionOf(on.region);
    if (place === null) throw conflict(`the region ${on.region} is not configured any more`);
    const chosen = catalog.choosePlan(plan ?? on.plan, engine);
    requireRoom(chosen, on.storageBytes);
    return { engine, version, extras, plan: chosen, region: place };
  }

  /** Stores a copy, under an id that the caller chooses. Throws a conflict where the plan keeps none. */
  snapshot(
    principal: Principal,
    ref: DeploymentRef,
    snapshotId: string,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const plan: Plan<"snapshot"> = (tx, on) => this.planSnapshot(tx, principal, on, "demand", snapshotId);
    return this.#accept("snapshot", principal, ref, plan, onAccept);
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
      return { extra: { snapshotId }, details: { snapshotId, from: snapshot.deploymentId } };
    };
    return this.#accept("restore", principal, target, plan, onAccept);
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
    return this.#accept("import", principal, ref, plan, onAccept);
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
    return this.#accept("export", principal, ref, plan, onAccept);
  }

  /**
   * Exchanges the connection URLs of two deployments, so that clients of either reach the other. What production
   * clients read and write is other data then, so it counts as overwriting.
   */
  async exchange(
    principal: Principal,
    ref: DeploymentRef,
    databaseId: string,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    if (databaseId === ref.id) throw wrongDatabase("must be another database");
    const { db, ledger } = this.#deps;
    return this.#dispatched(
      db.transaction(async (tx) => {
        const refs = [ref, { id: databaseId, engine: null }];
        const [on, second] = await holdVisible(tx, principal, refs);
        if (on === undefined || second === undefined) throw new Error("two were asked for");
        if (on.engine !== second.engine || on.region !== second.region) {
          throw wrongDatabase(
            `must be of the same engine and region: ${on.engine} in ${on.region}, not ${second.engine} in ${second.region}`,
          );
        }
        for (const one of [on, second]) requireDestructive(principal, one, "exchange its connection URL");
        await requireBeginning(tx, "connection-url", [on, second]);
        const other = await beginOn(tx, "connection-url", second);
        const operation = await acceptCommand(tx, ledger, principal, {
          command: "connection-url",
          on,
          extra: { other },
          locks: [{ type: DEPLOYMENT, id: second.id }],
          details: { with: second.id, withName: second.name },
        });
        await onAccept?.(tx, operation);
        return operation;
      }),
    );
  }

  /** A new password; the old one ends with the operation. */
  rotatePassword(principal: Principal, ref: DeploymentRef, onAccept?: OnAccept): Promise<Operation> {
    const plan: Plan<"rotate-password"> = async () => {
      const operationId = newId();
      const payloadSecrets = sealPassword(this.#deps.masterKey, operationId, newPassword());
      return { operationId, payloadSecrets, extra: {} };
    };
    return this.#accept("rotate-password", principal, ref, plan, onAccept);
  }

  /** Changes the plan. Throws a conflict where the data would not fit. */
  resize(principal: Principal, ref: DeploymentRef, planId: string, onAccept?: OnAccept): Promise<Operation> {
    const plan: Plan<"resize"> = async (_tx, on) => {
      const chosen = this.#deps.catalog.choosePlan(planId, on.engine, "/targetPlanName");
      if (chosen.id === on.plan) throw conflict(`the database is on the plan ${chosen.id} already`);
      requireRoom(chosen, on.storageBytes);
      return { extra: { plan: chosen.id }, details: { from: on.plan, to: chosen.id } };
    };
    return this.#accept("resize", principal, ref, plan, onAccept);
  }

  /** @param finalSnapshot whether its data is stored once more before it goes */
  terminate(
    principal: Principal,
    ref: DeploymentRef,
    finalSnapshot: boolean,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const plan: Plan<"terminate"> = async (tx, on) => {
      requireDestructive(principal, on, "terminate it");
      const operationId = newId();
      // One that failed was never created, or is half removed.
      const snapshotId = finalSnapshot && on.state !== "failed" ? newId() : null;
      if (snapshotId !== null) {
        const createdBy = principal.name;
        await insertSnapshot(tx, on, { id: snapshotId, kind: "final", operationId, createdBy });
      }
      return { operationId, extra: { snapshotId }, details: { snapshotId } };
    };
    return this.#accept("terminate", principal, ref, plan, onAccept);
  }

  #accept<C extends Command>(
    command: C,
    principal: Principal,
    ref: DeploymentRef,
    plan: Plan<C>,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const { db, ledger } = this.#deps;
    return this.#dispatched(
      db.transaction(async (tx) => {
        const on = await holdOne(tx, principal, ref);
        await requireBeginning(tx, command, [on]);
        const operation = await acceptCommand(tx, ledger, principal, {
          command,
          on,
          ...(await plan(tx, on)),
        });
        await onAccept?.(tx, operation);
        return operation;
      }),
    );
  }

  /** Only haste: if this process dies before, the next sweep sends it. */
  async #dispatched(accepting: Promise<Operation>): Promise<Operation> {
    const operation = await accepting;
    void this.#deps.dispatcher.dispatch();
    return operation;
  }
}

function wrongSnapshot(message: string) {
  return invalid(`/snapshotId ${message}`, [{ path: "/snapshotId", message }]);
}

function wrongDatabase(message: string) {
  return invalid(`/databaseId ${message}`, [{ path: "/databaseId", message }]);
}
