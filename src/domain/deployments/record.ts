import type { Sql } from "../../platform/sql.js";
import type { DeploymentState, DesiredState } from "./state.js";
import type { StorageHold } from "./storage.js";

/** A deployment as its row says it; its secrets are opened by `openSecrets`. */
export interface DeploymentRecord {
  readonly id: string;
  readonly organizationId: string;
  readonly projectId: string;
  readonly name: string;
  readonly engine: string;
  readonly version: string;
  readonly plan: string;
  readonly region: string;
  readonly extras: readonly string[];
  readonly state: DeploymentState;
  readonly desiredState: DesiredState;
  /** Null: given back. */
  readonly port: number | null;
  readonly username: string;
  readonly secrets: Uint8Array | null;
  readonly commandCount: number;
  readonly needsRestart: boolean;
  readonly underIncident: boolean;
  readonly failures: number;
  readonly nextTryAt: Date | null;
  readonly healthStatus: "healthy" | "unhealthy" | null;
  readonly healthAt: Date | null;
  readonly storageBytes: number | null;
  readonly storageHold: StorageHold;
  readonly removedAt: Date | null;
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly terminatedAt: Date | null;
}

/** A deployment's columns, under the names that `DeploymentRecord` gives them. */
export const COLUMNS = `d.id, d.organization_id AS "organizationId", d.project_id AS "projectId", d.name, d.engine, d.version,
  d.plan, d.region, d.extras, d.state, d.desired_state AS "desiredState", d.port, d.username, d.secrets,
  d.command_count AS "commandCount", d.needs_restart AS "needsRestart", d.under_incident AS "underIncident",
  d.failures, d.next_try_at AS "nextTryAt", d.health_status AS "healthStatus", d.health_at AS "healthAt",
  d.storage_bytes::float8 AS "storageBytes", d.storage_hold AS "storageHold", d.removed_at AS "removedAt", d.created_by AS "createdBy",
  d.created_at AS "createdAt", d.terminated_at AS "terminatedAt"`;

const READ = { name: "deployment_read", text: `SELECT ${COLUMNS} FROM deployments d WHERE d.id = $1` };

const HOLD = {
  name: "deployments_hold",
  text: `SELECT ${COLUMNS} FROM deployments d WHERE d.id = ANY ($1::uuid[]) ORDER BY d.id FOR UPDATE`,
};

const LIVING = {
  name: "deployments_living",
  text: `SELECT ${COLUMNS}, l.operation_id AS "operationId" FROM deployments d
         LEFT JOIN operation_locks l ON l.resource_type = 'deployment' AND l.resource_id = d.id
         WHERE d.region = $1 AND d.terminated_at IS NULL ORDER BY d.id`,
};

/** Whoever asks: for workers. Null where there is none. */
export async function readDeployment(sql: Sql, id: string): Promise<DeploymentRecord | null> {
  const [row] = await sql.rows<DeploymentRecord>(READ, [id]);
  return row ?? null;
}

/** Held until the transaction ends, always in the same order: two commands on the same two never wait for each other. */
export async function holdDeployments(tx: Sql, ids: readonly string[]): Promise<DeploymentRecord[]> {
  return tx.rows<DeploymentRecord>(HOLD, [ids]);
}

/** One of a region's deployments, for its supervisor. */
export interface SupervisedDeployment extends DeploymentRecord {
  /** The operation that holds it: whoever does that sees to its server; null: none. */
  readonly operationId: string | null;
}

/** Everything of a region that is not terminated. */
export async function livingDeployments(sql: Sql, region: string): Promise<SupervisedDeployment[]> {
  return sql.rows<SupervisedDeployment>(LIVING, [region]);
}

const MARK = {
  name: "deployments_living_mark",
  text: `SELECT hashtextextended(string_agg(concat_ws(' ', d.id, d.command_count, l.operation_id), ',' ORDER BY d.id), 0)::text AS mark
         FROM deployments d
         LEFT JOIN operation_locks l ON l.resource_type = 'deployment' AND l.resource_id = d.id
         WHERE d.region = $1 AND d.terminated_at IS NULL`,
};

/**
 * What changes with every command on one of them that is accepted or ends: while it does not, they are as they were read,
 * but for what their supervisor writes itself.
 */
export async function markOfLiving(sql: Sql, region: string): Promise<string> {
  const [row] = await sql.rows<{ mark: string | null }>(MARK, [region]);
  return row?.mark ?? "none";
}

const LIVING_IDS = {
  name: "deployments_living_among",
  text: "SELECT id FROM deployments WHERE id = ANY ($1::uuid[]) AND terminated_at IS NULL",
};

/** Which of these places are of a living deployment; the others are left over, and may be cleared. */
export async function livingAmong(sql: Sql, ids: readonly string[]): Promise<Set<string>> {
  return new Set((await sql.rows<{ id: string }>(LIVING_IDS, [ids])).map(({ id }) => id));
}
