import { type Principal, projectFilter } from "../../auth/principal.js";
import { COLUMNS } from "../../operations/columns.js";
import type { Operation } from "../../operations/operation.js";
import { notFound } from "../../platform/errors.js";
import type { Database } from "../../platform/sql.js";

/**
 * A clone's history begins with the operation of the one that was copied; an exchange is in both, and so is what puts a
 * snapshot of one into another.
 */
const OF = `o.organization_id = $1 AND ($2::uuid[] IS NULL OR o.project_id = ANY ($2)) AND o.resource_type = 'deployment'
  AND (o.resource_id = $3::uuid OR o.operation_type IN ('deployment.clone', 'deployment.connection-url')
    AND o.payload -> 'other' ->> 'deploymentId' = $3::uuid::text
    OR o.operation_type = 'deployment.restore' AND o.payload ->> 'from' = $3::uuid::text)`;

const LIST = {
  name: "deployment_operations",
  text: `SELECT ${COLUMNS} FROM operations o WHERE ${OF} AND ($4::uuid IS NULL OR o.id < $4) ORDER BY o.id DESC LIMIT $5`,
};
const GET = {
  name: "deployment_operation",
  text: `SELECT ${COLUMNS} FROM operations o WHERE ${OF} AND o.id = $4`,
};

/** What was done to deployments, and is being done. */
export class DeploymentHistory {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Newest first. */
  async list(
    principal: Principal,
    deploymentId: string,
    limit: number,
    before: string | null,
  ): Promise<Operation[]> {
    const { organizationId } = principal;
    return this.#db.rows(LIST, [organizationId, projectFilter(principal), deploymentId, before, limit]);
  }

  async get(principal: Principal, deploymentId: string, id: string): Promise<Operation> {
    const { organizationId } = principal;
    const [row] = await this.#db.rows<Operation>(GET, [
      ...[organizationId, projectFilter(principal), deploymentId, id],
    ]);
    if (row === undefined) throw notFound("operation");
    return row;
  }
}
