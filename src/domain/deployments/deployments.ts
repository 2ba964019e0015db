import { type Principal, projectFilter } from "../../auth/principal.js";
import type { Operation } from "../../operations/operation.js";
import { AppError, conflict, invalid, notFound } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import { isUniqueViolation } from "../../platform/prisma.js";
import type { Sql } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import { type Environment, type Project, resolveProjects, visibleProjects } from "../projects/reference.js";
import { acceptCommand, type DeploymentDeps } from "./accept.js";
import type { DeploymentRef } from "./access.js";
import { allocatePort } from "./address.js";
import type { Choice, Wish } from "./catalog.js";
import { DEPLOYMENT } from "./operations.js";
import { readDeployment } from "./record.js";
import { newSecrets, openSecrets, sealSecrets, USERNAME } from "./secrets.js";
import type { DeploymentState } from "./state.js";
import { type DeploymentRow, type DeploymentView, SELECT, VISIBLE, viewer } from "./view.js";

/** What a new deployment is asked to be. */
export interface DeploymentInput extends Wish {
  readonly name: string;
  /** Id, slug or number of a project; absent: the only one that the caller reaches, or `default`. */
  readonly project?: string | undefined;
}

/** Which deployments are listed; absent: whichever, but for those that have ended. */
export interface DeploymentFilter {
  readonly engine?: string | undefined;
  readonly environments?: readonly Environment[] | undefined;
  readonly projectId?: string | undefined;
  readonly state?: DeploymentState | undefined;
  readonly name?: string | undefined;
}

const LIST = {
  name: "deployments_list",
  text: `${SELECT} WHERE ${VISIBLE}
         AND ($3::text IS NULL AND d.terminated_at IS NULL OR d.state = $3)
         AND ($4::text IS NULL OR d.engine = $4) AND ($5::environment[] IS NULL OR p.environment = ANY ($5))
         AND ($6::uuid IS NULL OR d.project_id = $6) AND ($7::text IS NULL OR d.name = $7)
         AND ($8::uuid IS NULL OR d.id > $8)
         ORDER BY d.id LIMIT $9`,
};

const GET = { name: "deployment_get", text: `${SELECT} WHERE ${VISIBLE} AND d.id = $3` };

const INSERT = {
  name: "deployment_insert",
  text: `INSERT INTO deployments (id, organization_id, project_id, name, engine, version, plan, region, extras, port,
           username, secrets, key_id, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
};

/** Makes and reads deployments; what is done to them is in `commands.ts`. */
export class Deployments {
  readonly #deps: DeploymentDeps;

  constructor(deps: DeploymentDeps) {
    this.#deps = deps;
  }

  /** Accepts the creation: the row with its address and its secrets, and the operation, or nothing. */
  async create(
    principal: Principal,
    input: DeploymentInput,
    onAccept: (tx: Sql, operation: Operation, created: DeploymentView) => Promise<void> = async () => {},
  ): Promise<{ operation: Operation; created: DeploymentView }> {
    const { db, ledger, catalog } = this.#deps;
    const project = await this.projectOf(principal, input.project);
    const choice = await catalog.choose(input);
    const view = await viewer(catalog);
    return db
      .transaction(async (tx) => {
        const row = await insertDeployment(
          tx,
          this.#deps,
          principal,
          project,
          { id: newId(), name: input.name },
          choice,
        );
        const operation = await acceptCommand(tx, ledger, principal, {
          command: "create",
          on: row,
          extra: {},
        });
        const created = view({ ...row, environment: project.environment, operationId: operation.id });
        await onAccept(tx, operation, created);
        return { operation, created };
      })
      .catch((error: unknown) => {
        throw nameTaken(error, input.name);
      });
  }

  /** The project that a caller means for something new. */
  async projectOf(principal: Principal, reference: string | undefined): Promise<Project> {
    const { prisma } = this.#deps;
    if (reference !== undefined) {
      const [project] = await resolveProjects(prisma, principal, [reference]);
      if (project !== undefined && project !== null) return project;
      throw invalidEnvironment(`"${reference}" is no environment that you reach`);
    }
    const reached = await prisma.project.findMany({ where: visibleProjects(principal), take: 2 });
    const [only, ...others] = reached;
    if (only !== undefined && others.length === 0) return only;
    const [byName] = await resolveProjects(prisma, principal, ["default"]);
    if (byName !== undefined && byName !== null) return byName;
    throw invalidEnvironment("is required: you reach several environments, and none is called default");
  }

  /** Those that the principal reaches, by id. */
  async list(
    principal: Principal,
    filter: DeploymentFilter,
    limit: number,
    after: string | null,
  ): Promise<DeploymentView[]> {
    const { state, engine, environments, projectId, name } = filter;
    const rows = await this.#deps.db.rows<DeploymentRow>(LIST, [
      principal.organizationId,
      projectFilter(principal),
      state ?? null,
      engine ?? null,
      environments ?? null,
      projectId ?? null,
      name ?? null,
      after,
      limit,
    ]);
    const view = await viewer(this.#deps.catalog);
    return rows.map((row) => view(row));
  }

  /** One, also when it has ended. An engine that is named must be its own. */
  async get(principal: Principal, ref: DeploymentRef): Promise<DeploymentView> {
    const row = await this.find(this.#deps.db, principal, ref);
    return (await viewer(this.#deps.catalog))(row);
  }

  /** The same with its password, for who may change it; the audit log says who has seen it. */
  async reveal(principal: Principal, ref: DeploymentRef): Promise<DeploymentView> {
    const { db, masterKey, catalog } = this.#deps;
    const scope = "deployment:write";
    if (!principal.scopes.has(scope)) {
      throw new AppError("insufficient_scope", `the scope ${scope} is required to see a password`, {
        details: { scope },
      });
    }
    const view = await viewer(catalog);
    return db.transaction(async (tx) => {
      const row = await this.find(tx, principal, ref);
      if (row.secrets === null) return view(row);
      await auditSql(tx, principal, {
        action: "deployment.reveal",
        target: { type: DEPLOYMENT, id: row.id },
        projectId: row.projectId,
        details: { name: row.name },
      });
      return view(row, openSecrets(masterKey, row).password);
    });
  }

  /** Its row; throws "not found" where the principal does not reach it. */
  async find(sql: Sql, principal: Principal, { id, engine }: DeploymentRef): Promise<DeploymentRow> {
    const [row] = await sql.rows<DeploymentRow>(GET, [
      principal.organizationId,
      projectFilter(principal),
      id,
    ]);
    if (row === undefined || (engine !== null && row.engine !== engine)) throw notFound("database");
    return row;
  }
}

/** The row of something new, with an address and secrets of its own. */
export async function insertDeployment(
  tx: Sql,
  { masterKey }: DeploymentDeps,
  principal: Principal,
  project: Pick<Project, "id" | "organizationId">,
  { id, name }: { readonly id: string; readonly name: string },
  { engine, version, plan, region, extras }: Choice,
) {
  const held = await tx.rows("SELECT 1 FROM projects WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE", [
    project.id,
  ]);
  if (held.length === 0) throw notFound("environment");
  const { secrets, keyId } = sealSecrets(masterKey, id, newSecrets());
  const port = await allocatePort(tx, region);
  await tx.run(INSERT, [
    ...[id, project.organizationId, project.id, name, engine, version, plan.id, region.name, extras],
    ...[port, USERNAME, secrets, keyId, principal.name],
  ]);
  const row = await readDeployment(tx, id);
  if (row === null) throw new Error("an insert left no row");
  return row;
}

/** What a write says that failed because the name is taken. */
export function nameTaken(error: unknown, name: string): unknown {
  return isUniqueViolation(error) && String((error as { constraint?: unknown }).constraint).includes("name")
    ? conflict(`a database named "${name}" exists already in this environment`)
    : error;
}

function invalidEnvironment(message: string): AppError {
  return invalid(`/environmentId ${message}`, [{ path: "/environmentId", message }]);
}
