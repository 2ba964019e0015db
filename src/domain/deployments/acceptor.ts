import type { Principal } from "../../auth/principal.js";
import type { Operation } from "../../operations/operation.js";
import type { Sql } from "../../platform/sql.js";
import type { OnAccept } from "../jobs/sync.js";
import { type Acceptance, acceptCommand, type DeploymentDeps } from "./accept.js";
import { type DeploymentRef, type HeldDeployment, holdOne, requireBeginning } from "./access.js";
import type { Command } from "./state.js";

/** What a command does in its transaction, once it may begin. */
export type Plan<C extends Command> = (
  tx: Sql,
  on: HeldDeployment,
) => Promise<Omit<Acceptance<C>, "command" | "on">>;

/** Accepts commands of which nothing but their plan is special. */
export class Acceptor {
  readonly #deps: DeploymentDeps;

  constructor(deps: DeploymentDeps) {
    this.#deps = deps;
  }

  /** Where it may begin: state, locks, operation and audit event in one transaction, or a conflict that says why not. */
  accept<C extends Command>(
    command: C,
    principal: Principal,
    ref: DeploymentRef,
    plan: Plan<C>,
    onAccept?: OnAccept,
  ): Promise<Operation> {
    const { db, ledger } = this.#deps;
    return db.transaction(async (tx) => {
      const on = await holdOne(tx, principal, ref);
      await requireBeginning(tx, command, [on]);
      const operation = await acceptCommand(tx, ledger, principal, {
        command,
        on,
        ...(await plan(tx, on)),
      });
      await onAccept?.(tx, operation);
      return operation;
    });
  }
}
