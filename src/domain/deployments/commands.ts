import type { Principal } from "../../auth/principal.js";
import type { Operation } from "../../operations/operation.js";
import { conflict, invalid } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import type { OnAccept } from "../jobs/sync.js";
import { acceptCommand, beginOn, type DeploymentDeps } from "./accept.js";
import type { Acceptor, Plan } from "./acceptor.js";
import { type DeploymentRef, holdVisible, requireBeginning, requireDestructive } from "./access.js";
import { blobKeyOf } from "./archives.js";
import { type Choice, requireRoom } from "./catalog.js";
import { type Deployments, insertDeployment, nameTaken } from "./deployments.js";
import { DEPLOYMENT } from "./operations.js";
import type { DeploymentRecord } from "./record.js";
import { newPassword, sealPassword } from "./secrets.js";
import { insertSnapshot } from "./snapshots.js";

export interface CloneInput {
  /** Of the new one, chosen by the caller. */
  readonly id: string;
  readonly name: string;
  /** Id, slug or number of a project; absent: the one of the deployment that is copied. */
  readonly project?: string | undefined;
  readonly plan?: string | undefined;
  readonly region?: string | undefined;
}

const nothing = async () => ({ extra: {} });

/**
 * Accepts commands on deployments: state, locks, operation and audit event in one transaction, or a conflict that
 * says what is in the way. What they do to servers is done by the workers of the deployment's region.
 */
export class Commands {
  readonly #deps: DeploymentDeps;
  readonly #deployments: Deployments;
  readonly #acceptor: Acceptor;

  constructor(deps: DeploymentDeps, deployments: Deployments, acceptor: Acceptor) {
    this.#deps = deps;
    this.#deployments = deployments;
    this.#acceptor = acceptor;
  }

  pause(principal: Principal, ref: DeploymentRef, onAccept?: OnAccept): Promise<Operation> {
    return this.#acceptor.accept("pause", principal, ref, nothing, onAccept);
  }

  resume(principal: Principal, ref: DeploymentRef, onAccept?: OnAccept): Promise<Operation> {
    return this.#acceptor.accept("resume", principal, ref, nothing, onAccept);
  }

  /** @param reset also forgets its failed starts, so that nothing waits for a next try */
  restart(principal: Principal, ref: DeploymentRef, reset: boolean, onAccept?: OnAccept): Promise<Operation> {
    return this.#acceptor.accept("restart", principal, ref, async () => ({ extra: { reset } }), onAccept);
  }

  /** A second deployment, with an address and a password of its own; in another region the data gets there as an archive. */
  async clone(
    principal: Principal,
    ref: DeploymentRef,
    input: CloneInput,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const { project: reference } = input;
    const chosen = reference === undefined ? null : await this.#deployments.projectOf(principal, reference);
    const { db } = this.#deps;
    // Neither engine nor version nor region of a deployment ever change.
    const choice = await this.#choiceFor(await this.#deployments.find(db, principal, ref), input);
    const plan: Plan<"clone"> = async (tx, on) => {
      requireRoom(choice.plan, on.storageBytes);
      const project = chosen ?? { id: on.projectId, organizationId: on.organizationId };
      const clone = await insertDeployment(tx, this.#deps, principal, project, input, choice);
      const other = await beginOn(tx, "create", clone);
      const locks = [{ type: DEPLOYMENT, id: clone.id }];
      const { region } = clone;
      const upload = { blobKey: blobKeyOf("uploads", clone.id) };
      const extra = region === on.region ? { other } : { other, region, upload };
      return { extra, locks, details: { clone: clone.id, cloneName: input.name } };
    };
    return this.#acceptor.accept("clone", principal, ref, plan, onAccept).catch((error: unknown) => {
      throw nameTaken(error, input.name);
    });
  }

  async #choiceFor(
    on: DeploymentRecord,
    { plan = on.plan, region = on.region }: CloneInput,
  ): Promise<Choice> {
    const { catalog } = this.#deps;
    const { engine, version, extras } = on;
    if (region !== on.region) return catalog.choose({ engine, version, extras, plan, region });
    const place = catalog.regionOf(region);
    if (place === null) throw conflict(`the region ${region} is not configured any more`);
    return { engine, version, extras, plan: catalog.choosePlan(plan, engine), region: place };
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
    return db.transaction(async (tx) => {
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
    });
  }

  /** A new password; the old one ends with the operation. */
  rotatePassword(principal: Principal, ref: DeploymentRef, onAccept?: OnAccept): Promise<Operation> {
    const plan: Plan<"rotate-password"> = async () => {
      const operationId = newId();
      const payloadSecrets = sealPassword(this.#deps.masterKey, operationId, newPassword());
      return { operationId, payloadSecrets, extra: {} };
    };
    return this.#acceptor.accept("rotate-password", principal, ref, plan, onAccept);
  }

  /** Changes the plan. Throws a conflict where the data would not fit. */
  resize(principal: Principal, ref: DeploymentRef, planId: string, onAccept?: OnAccept): Promise<Operation> {
    const plan: Plan<"resize"> = async (_tx, on) => {
      const chosen = this.#deps.catalog.choosePlan(planId, on.engine, "/targetPlanName");
      if (chosen.id === on.plan) throw conflict(`the database is on the plan ${chosen.id} already`);
      requireRoom(chosen, on.storageBytes);
      return { extra: { plan: chosen.id }, details: { from: on.plan, to: chosen.id } };
    };
    return this.#acceptor.accept("resize", principal, ref, plan, onAccept);
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
    return this.#acceptor.accept("terminate", principal, ref, plan, onAccept);
  }
}

function wrongDatabase(message: string) {
  return invalid(`/databaseId ${message}`, [{ path: "/databaseId", message }]);
}
