import type { Principal } from "../../auth/principal.js";
import type { Ledger } from "../../operations/ledger.js";
import type { LockTarget } from "../../operations/new-operation.js";
import type { Operation } from "../../operations/operation.js";
import type { Blobs } from "../../platform/blobs.js";
import type { MasterKey } from "../../platform/crypto.js";
import type { PrismaClient } from "../../platform/prisma.js";
import type { Database, Sql } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import type { DeploymentCatalog } from "./catalog.js";
import { DEPLOYMENT, operationOf, type Payloads, type Target } from "./operations.js";
import type { DeploymentRecord } from "./record.js";
import { begin, type Command, type DeploymentState, desiredIn } from "./state.js";

/** What the services of deployments stand on. */
export interface DeploymentDeps {
  readonly prisma: PrismaClient;
  readonly db: Database;
  readonly ledger: Ledger;
  readonly masterKey: MasterKey;
  readonly blobs: Blobs;
  readonly catalog: DeploymentCatalog;
}

/** What a command's operation carries, besides what it holds. */
type Extra<C extends Command> = Omit<Payloads[C], keyof Target>;

export interface Acceptance<C extends Command> {
  readonly command: C;
  /** Chosen before where something else of the transaction names it. */
  readonly operationId?: string;
  /** Held by the transaction; the first is whom the operation is of. */
  readonly on: DeploymentRecord;
  readonly extra: Extra<C>;
  readonly payloadSecrets?: Uint8Array;
  /** Held besides, until the operation ends. */
  readonly locks?: readonly LockTarget[];
  /** A schedule asks, nobody who waits. */
  readonly scheduled?: boolean;
  /** For the audit log, besides the operation. */
  readonly details?: Readonly<Record<string, unknown>>;
}

const BEGIN = {
  name: "deployment_begin",
  text: `UPDATE deployments SET state = $2, desired_state = coalesce($3, desired_state), command_count = command_count + 1,
           updated_at = now()
         WHERE id = $1 RETURNING command_count AS command`,
};

/** These say what the deployment is to be from now on; others leave that as it is. */
const DECIDING: ReadonlySet<Command> = new Set(["pause", "resume", "terminate"]);

/**
 * Begins a command at a deployment whose row the transaction holds and that may begin it.
 * @returns how its operation names it
 */
export async function beginOn(tx: Sql, command: Command, row: DeploymentRecord): Promise<Target> {
  const state: DeploymentState = command === "create" ? "creating" : (begin(command, row.state) ?? row.state);
  const desired = DECIDING.has(command) ? desiredIn(state) : null;
  const [counted] = await tx.rows<{ command: number }>(BEGIN, [row.id, state, desired]);
  if (counted === undefined) throw new Error(`deployment ${row.id} was held, and is gone`);
  return { deploymentId: row.id, command: counted.command, before: row.state };
}

/** Accepts a command within the caller's transaction: state, locks, operation and audit event, or nothing. */
export async function acceptCommand<C extends Command>(
  tx: Sql,
  ledger: Ledger,
  principal: Principal,
  acceptance: Acceptance<C>,
): Promise<Operation> {
  const {
    command,
    on,
    operationId,
    extra,
    payloadSecrets,
    locks = [],
    scheduled = false,
    details,
  } = acceptance;
  const target = await beginOn(tx, command, on);
  const operation = await ledger.request(tx, {
    ...(operationId === undefined ? {} : { id: operationId }),
    organizationId: on.organizationId,
    projectId: on.projectId,
    operationType: operationOf(command),
    resource: { type: DEPLOYMENT, id: on.id },
    locks: [{ type: DEPLOYMENT, id: on.id }, ...locks],
    payload: { ...target, ...extra },
    ...(payloadSecrets === undefined ? {} : { payloadSecrets }),
    origin: principal.origin,
    createdBy: { kind: principal.kind, id: principal.id, name: principal.name },
    region: on.region,
    scheduled,
  });
  await auditSql(tx, principal, {
    action: operationOf(command),
    target: { type: DEPLOYMENT, id: on.id },
    projectId: on.projectId,
    details: { name: on.name, operationId: operation.id, ...details },
  });
  return operation;
}
