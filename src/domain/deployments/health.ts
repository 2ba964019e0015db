import type { Sql } from "../../platform/sql.js";

/** What a look at a server has shown. */
export interface Health {
  readonly deploymentId: string;
  readonly status: "healthy" | "unhealthy";
  /** What its data take; null: not looked at. */
  readonly storageBytes: number | null;
}

const RECORD = {
  name: "deployments_health",
  text: `UPDATE deployments d SET health_status = h.status, health_at = clock_timestamp(),
           storage_bytes = coalesce(h.bytes, d.storage_bytes),
           under_incident = h.status = 'unhealthy',
           failures = CASE WHEN h.status = 'healthy' THEN 0 ELSE d.failures END,
           next_try_at = CASE WHEN h.status = 'healthy' THEN NULL ELSE d.next_try_at END
         FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS h(id, status, bytes)
         WHERE d.id = h.id AND d.terminated_at IS NULL`,
};

/** Writes down what a round of looks has shown, in one statement. */
export async function recordHealth(sql: Sql, found: readonly Health[]): Promise<void> {
  if (found.length === 0) return;
  await sql.run(RECORD, [
    found.map(({ deploymentId }) => deploymentId),
    found.map(({ status }) => status),
    found.map(({ storageBytes }) => storageBytes),
  ]);
}

/** The first try again comes after a second, each further one after twice as long, at most this. */
const LONGEST_WAIT_S = 300;

const FAILED = {
  name: "deployment_failed_start",
  text: `UPDATE deployments SET under_incident = true, failures = failures + 1,
           next_try_at = clock_timestamp() + least(power(2, least(failures, 16)), ${LONGEST_WAIT_S}) * interval '1 second'
         WHERE id = $1`,
};

/** A server could not be brought up: the next try waits longer. */
export async function recordFailedStart(sql: Sql, deploymentId: string): Promise<void> {
  await sql.run(FAILED, [deploymentId]);
}

/** Forgets failed starts: the next try is now. */
export async function forgetFailures(sql: Sql, deploymentId: string): Promise<void> {
  await sql.run("UPDATE deployments SET failures = 0, next_try_at = NULL WHERE id = $1", [deploymentId]);
}
