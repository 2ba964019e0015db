import type { Plan } from "../../config/plans.js";
import type { ClaimedOperation, Outcome } from "../../operations/operation.js";
import type { MasterKey } from "../../platform/crypto.js";
import type { Sql } from "../../platform/sql.js";
import { dropArchive, endArchives, keepArchive, retainSnapshots } from "./archives.js";
import { recordFailedStart } from "./health.js";
import { type ArchiveResult, type CommandPayload, type CommandResult, commandOf } from "./operations.js";
import { type DeploymentRecord, holdDeployments } from "./record.js";
import { openPassword, openSecrets, sealSecrets } from "./secrets.js";
import { type Command, type DeploymentState, desiredIn, end } from "./state.js";

export interface SettleDeps {
  readonly masterKey: MasterKey;
  /** The plan of a name; null where the configuration has none such any more. */
  readonly planOf: (id: string) => Plan | null;
}

/** Commands after whose success the server was seen to serve, or to rest as it should. */
const REVIVING: ReadonlySet<Command> = new Set([
  "create",
  "pause",
  "resume",
  "restart",
  "restore",
  "import",
  "connection-url",
  "recover",
]);

const SET_STATE = {
  name: "deployment_settle",
  text: `UPDATE deployments SET state = $2, desired_state = $3, updated_at = now(),
           storage_bytes = coalesce($4::bigint, storage_bytes)
         WHERE id = $1`,
};

const REVIVE = {
  name: "deployment_revive",
  text: `UPDATE deployments SET under_incident = false, failures = 0, next_try_at = NULL WHERE id = $1`,
};

const RELEASE = {
  name: "deployment_release",
  text: `UPDATE deployments SET terminated_at = now(), port = NULL, secrets = NULL, key_id = NULL,
           under_incident = false, needs_restart = false, failures = 0, next_try_at = NULL, health_status = NULL
         WHERE id = $1`,
};

/**
 * What a command's end means for the deployments that it held: their states, and what else it has changed. In the
 * transaction that ends the operation (`settle` of every handler of a deployment's command).
 */
export async function endCommand(
  tx: Sql,
  deps: SettleDeps,
  operation: ClaimedOperation,
  outcome: Outcome,
): Promise<void> {
  const payload = operation.payload as CommandPayload;
  const command = commandOf(operation.operationType);
  const { other } = payload;
  const rows = await holdDeployments(tx, [payload.deploymentId, ...(other ? [other.deploymentId] : [])]);
  const rowOf = (id: string): DeploymentRecord | undefined => rows.find((row) => row.id === id);
  const own = rowOf(payload.deploymentId);
  if (own === undefined) return;
  const result = outcome.status === "succeeded" ? ((outcome.result ?? {}) as CommandResult) : null;
  await endArchive(tx, command, payload, result);
  await settleOne(tx, deps, own, { command, before: payload.before, outcome, result });
  if (result !== null) await succeeded(tx, deps, command, own, operation);
  if (outcome.status === "failed" && command === "recover") await recordFailedStart(tx, own.id);
  const second = other === undefined ? undefined : rowOf(other.deploymentId);
  if (other === undefined || second === undefined) return;
  // Of two, the second is the clone, which begins here, or the same is done to it.
  const rule = command === "clone" ? "create" : command;
  const copied = command === "clone" ? result : null;
  await settleOne(tx, deps, second, { command: rule, before: other.before, outcome, result: copied });
}

interface End {
  readonly command: Command;
  readonly before: DeploymentState;
  readonly outcome: Outcome;
  readonly result: CommandResult | null;
}

async function settleOne(tx: Sql, deps: SettleDeps, row: DeploymentRecord, ended: End): Promise<void> {
  const { command, before, outcome, result } = ended;
  const state = end(command, outcome.status, before, row.removedAt !== null);
  await tx.run(SET_STATE, [row.id, state, desiredIn(state), result?.storageBytes ?? null]);
  if (outcome.status === "succeeded" && REVIVING.has(command)) await tx.run(REVIVE, [row.id]);
  if (state !== "terminated" || row.terminatedAt !== null) return;
  await tx.run(RELEASE, [row.id]);
  await tx.run("DELETE FROM snapshot_schedules WHERE deployment_id = $1", [row.id]);
  await endArchives(tx, row.id, deps.planOf(row.plan)?.daysAfterEnd ?? 0);
}

async function endArchive(
  tx: Sql,
  command: Command,
  { snapshotId, exportId }: CommandPayload,
  result: CommandResult | null,
): Promise<void> {
  const made = result !== null && result.sha256 !== undefined && result.bytes !== undefined;
  const settle = async (table: "snapshots" | "deployment_exports", id: string): Promise<void> => {
    if (made) await keepArchive(tx, table, id, result as ArchiveResult);
    else await dropArchive(tx, table, id);
  };
  if ((command === "snapshot" || command === "terminate") && typeof snapshotId === "string") {
    await settle("snapshots", snapshotId);
  }
  if (command === "export" && exportId !== undefined) await settle("deployment_exports", exportId);
}

/** What a command that succeeded has changed besides the state. */
async function succeeded(
  tx: Sql,
  { masterKey, planOf }: SettleDeps,
  command: Command,
  row: DeploymentRecord,
  operation: ClaimedOperation,
): Promise<void> {
  if (command === "snapshot") await retainSnapshots(tx, row.id, planOf(row.plan)?.snapshots ?? 0);
  if (command === "restart") {
    await tx.run("UPDATE deployments SET needs_restart = false WHERE id = $1", [row.id]);
  }
  if (command === "resize") {
    const { plan } = operation.payload as { readonly plan: string };
    await tx.run("UPDATE deployments SET plan = $2, needs_restart = false WHERE id = $1", [row.id, plan]);
    await retainSnapshots(tx, row.id, planOf(plan)?.snapshots ?? 0);
  }
  if (command === "rotate-password") {
    const password = openPassword(masterKey, operation);
    const sealed = sealSecrets(masterKey, row.id, { ...openSecrets(masterKey, row), password });
    await tx.run("UPDATE deployments SET secrets = $2, key_id = $3 WHERE id = $1", [
      row.id,
      sealed.secrets,
      sealed.keyId,
    ]);
  }
}

const REMOVE = "UPDATE deployments SET removed_at = coalesce(removed_at, now()) WHERE id = $1";

/** From here on the data may be gone: `terminate` says so before it removes anything. */
export async function recordRemoval(tx: Sql, deploymentId: string): Promise<void> {
  await tx.run(REMOVE, [deploymentId]);
}
