import { type Principal, projectFilter } from "../../auth/principal.js";
import { AppError, conflict, notFound } from "../../platform/errors.js";
import type { Sql } from "../../platform/sql.js";
import type { Environment } from "../projects/reference.js";
import { DEPLOYMENT } from "./operations.js";
import { COLUMNS, type DeploymentRecord } from "./record.js";
import { type Command, refusal } from "./state.js";

/** A deployment, and the kind of its project. */
export interface HeldDeployment extends DeploymentRecord {
  readonly environment: Environment;
}

/** In the order of their ids: two commands on the same two never wait for each other. */
const HOLD = {
  name: "deployments_hold_visible",
  text: `SELECT ${COLUMNS}, p.environment FROM deployments d JOIN projects p ON p.id = d.project_id
         WHERE d.id = ANY ($1::uuid[]) AND d.organization_id = $2 AND ($3::uuid[] IS NULL OR d.project_id = ANY ($3))
           AND p.deleted_at IS NULL
         ORDER BY d.id FOR UPDATE OF d FOR KEY SHARE OF p`,
};

/** How a caller names a deployment. */
export interface DeploymentRef {
  readonly id: string;
  /** Must be its own; null: whichever it is. */
  readonly engine: string | null;
}

/**
 * Deployments that the principal reaches, held until the transaction ends, in the order in which they were named.
 * Throws "not found" where it does not reach one of them.
 */
export async function holdVisible(
  tx: Sql,
  principal: Principal,
  refs: readonly DeploymentRef[],
): Promise<HeldDeployment[]> {
  const ids = refs.map(({ id }) => id);
  const rows = await tx.rows<HeldDeployment>(HOLD, [ids, principal.organizationId, projectFilter(principal)]);
  return refs.map(({ id, engine }) => {
    const row = rows.find((one) => one.id === id);
    if (row === undefined || (engine !== null && row.engine !== engine)) throw notFound("database");
    return row;
  });
}

/** The same of one. */
export async function holdOne(tx: Sql, principal: Principal, ref: DeploymentRef): Promise<HeldDeployment> {
  const [row] = await holdVisible(tx, principal, [ref]);
  if (row === undefined) throw notFound("database");
  return row;
}

const SCOPE = "production:destructive";

/** Throws where something is in production, and the principal may not destroy there (DESIGN.md section 5). */
export function requireDestructive(
  principal: Principal,
  { name, environment }: Pick<HeldDeployment, "name" | "environment">,
  what: string,
): void {
  if (environment !== "production" || principal.scopes.has(SCOPE)) return;
  throw new AppError(
    "insufficient_scope",
    `the database ${name} is in production: ${SCOPE} is required to ${what}`,
    { details: { scope: SCOPE } },
  );
}

const BLOCKING = {
  name: "deployments_blocking",
  text: `SELECT o.id, o.operation_type AS type FROM operation_locks l JOIN operations o ON o.id = l.operation_id
         WHERE l.resource_type = $1 AND l.resource_id = ANY ($2::uuid[]) ORDER BY o.id LIMIT 1`,
};

/** Throws a conflict where a command may not begin now: it names the operation that is in the way, or the reason. */
export async function requireBeginning(
  tx: Sql,
  command: Command,
  rows: readonly DeploymentRecord[],
): Promise<void> {
  const [blocking] = await tx.rows<{ id: string; type: string }>(BLOCKING, [
    DEPLOYMENT,
    rows.map(({ id }) => id),
  ]);
  if (blocking !== undefined) {
    throw conflict(`operation ${blocking.id} (${blocking.type}) is still running on this database`, {
      operationId: blocking.id,
    });
  }
  for (const { state, id } of rows) {
    const reason = refusal(command, state);
    if (reason !== null) throw conflict(reason, { databaseId: id, state });
  }
}
