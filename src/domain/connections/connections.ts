import type { Principal } from "../../auth/principal.js";
import type { Scope } from "../../auth/scopes.js";
import type { MasterKey } from "../../platform/crypto.js";
import { AppError, conflict, invalid, notFound } from "../../platform/errors.js";
import type { Connection as Row } from "../../platform/generated/client.js";
import { newId } from "../../platform/ids.js";
import { isUniqueViolation, type PrismaClient, type PrismaTransaction } from "../../platform/prisma.js";
import { type AuditEntry, audit } from "../audit/audit.js";
import { requireDestructive } from "../projects/destructive.js";
import { holdProject } from "../projects/hold.js";
import type { Project } from "../projects/projects.js";
import {
  type Config,
  type ConnectorCatalog,
  type ConnectorSpec,
  checkConfig,
  MASK,
  maskSecrets,
  type Role,
  sameConfig,
  unmask,
  withDefaults,
} from "./config.js";
import { openConfig, sealConfig } from "./secrets.js";

/** A configured connector as callers see it: secrets masked. */
export interface Connection {
  readonly id: string;
  readonly number: number;
  readonly projectId: string;
  readonly role: Role;
  readonly name: string;
  readonly type: string;
  readonly version: string;
  readonly config: Config;
  readonly configForm: "object" | "text";
  readonly createdBy: string;
  readonly updatedBy: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What a client says of a connection. */
export interface ConnectionInput {
  readonly name: string;
  readonly type: string;
  readonly version: string;
  readonly config: Config;
  readonly configForm: "object" | "text";
}

export interface ListPage {
  readonly limit: number | null;
  readonly after: number | null;
}

export class Connections {
  readonly #prisma: PrismaClient;
  readonly #catalog: ConnectorCatalog;
  readonly #masterKey: MasterKey;

  constructor(prisma: PrismaClient, catalog: ConnectorCatalog, masterKey: MasterKey) {
    this.#prisma = prisma;
    this.#catalog = catalog;
    this.#masterKey = masterKey;
  }

  /** The spec of a connector; throws an invalid request that lists what there is. */
  spec(role: Role, type: string, version: string): ConnectorSpec {
    const versions = this.#catalog.versions(role, type);
    if (versions.length === 0) {
      const known = this.#catalog.types(role).join(", ");
      throw invalid(`no ${role} connector of type "${type}"`, [
        { path: "/type", message: `must be one of ${known}` },
      ]);
    }
    const spec = this.#catalog.spec(role, type, version);
    if (spec === null) {
      const message = `must be one of ${versions.join(", ")}`;
      throw invalid(`the ${type} connector has no version "${version}"`, [{ path: "/version", message }]);
    }
    return spec;
  }

  /** What a client sent, with its secrets masked. */
  mask(
    role: Role,
    sent: { readonly type: string; readonly version: string; readonly config: Config },
  ): Config {
    const { secretFields } = this.spec(role, sent.type, sent.version);
    return maskSecrets(
      sent.config,
      secretFields.filter((field) => field in sent.config),
    );
  }

  /**
   * A configuration to try out. Masked secrets are those of the connection that it was read from: the same in every
   * other field, so that a secret goes nowhere else than before.
   */
  async unmasked(
    project: Project,
    role: Role,
    sent: { readonly type: string; readonly version: string; readonly config: Config },
  ): Promise<Config> {
    const spec = this.spec(role, sent.type, sent.version);
    if (spec.secretFields.some((field) => sent.config[field] === MASK)) {
      const rows = await this.#prisma.connection.findMany({
        where: { projectId: project.id, role, type: sent.type, deletedAt: null },
        orderBy: { updatedAt: "desc" },
      });
      const from = rows.find((row) => sameConfig(spec, this.present(row).config, sent.config));
      if (from !== undefined) return this.#open(from);
    }
    return unmask(sent.config, {}, spec.secretFields);
  }

  async create(
    principal: Principal,
    project: Project,
    role: Role,
    input: ConnectionInput,
  ): Promise<Connection> {
    return this.#prisma.$transaction((tx) => this.createIn(tx, principal, project, role, input));
  }

  /** The same within a transaction of the caller's. Throws a conflict where the name is taken. */
  async createIn(
    tx: PrismaTransaction,
    principal: Principal,
    project: Project,
    role: Role,
    input: ConnectionInput,
  ): Promise<Connection> {
    const spec = this.spec(role, input.type, input.version);
    checkConfig(spec, unmask(input.config, {}, spec.secretFields));
    await holdProject(tx, project.id);
    const id = newId();
    try {
      const row = await tx.connection.create({
        data: {
          id,
          organizationId: project.organizationId,
          projectId: project.id,
          role,
          name: input.name,
          type: input.type,
          version: input.version,
          configForm: input.configForm,
          ...sealConfig(this.#masterKey, id, spec, input.config),
          createdBy: principal.name,
          updatedBy: principal.name,
        },
      });
      await audit(tx, principal, entry(`${role}.create`, row));
      return this.present(row);
    } catch (error) {
      throw taken(error, role, input.name);
    }
  }

  async list(project: Project, role: Role, page: ListPage): Promise<Connection[]> {
    const rows = await this.#prisma.connection.findMany({
      where: {
        projectId: project.id,
        role,
        deletedAt: null,
        ...(page.after === null ? {} : { number: { gt: page.after } }),
      },
      orderBy: { number: "asc" },
      ...(page.limit === null ? {} : { take: page.limit }),
    });
    return rows.map((row) => this.present(row));
  }

  async nameIsFree(project: Project, role: Role, name: string): Promise<boolean> {
    const where = { projectId: project.id, role, name, deletedAt: null };
    return (await this.#prisma.connection.count({ where })) === 0;
  }

  async get(project: Project, role: Role, number: number): Promise<Connection> {
    return this.present(await this.#row(this.#prisma, project, role, number));
  }

  /** Replaces what a connection says; masked secrets stay as they are. */
  async update(
    principal: Principal,
    project: Project,
    role: Role,
    number: number,
    input: ConnectionInput,
  ): Promise<Connection> {
    const row = await this.#row(this.#prisma, project, role, number);
    const spec = this.spec(role, input.type, input.version);
    const stored = row.type === input.type ? this.#open(row) : {};
    const config = unmask(input.config, stored, spec.secretFields);
    checkConfig(spec, config);
    const data = {
      name: input.name,
      type: input.type,
      version: input.version,
      configForm: input.configForm,
      ...sealConfig(this.#masterKey, row.id, spec, config),
      updatedBy: principal.name,
    };
    try {
      const updated = await this.#prisma.$transaction(async (tx) => {
        await audit(tx, principal, entry(`${role}.update`, row));
        return tx.connection.update({ where: { id: row.id }, data });
      });
      return this.present(updated);
    } catch (error) {
      throw taken(error, role, input.name);
    }
  }

  /** Soft delete; refused while jobs use it, naming them, and in production without `production:destructive`. */
  async delete(principal: Principal, project: Project, role: Role, number: number): Promise<Connection> {
    return this.#prisma.$transaction(async (tx) => {
      const row = await this.#row(tx, project, role, number);
      requireDestructive(principal, project);
      // A job that is being made with it holds a share lock until it can be seen here.
      await tx.$queryRaw`SELECT 1 FROM connections WHERE id = ${row.id}::uuid FOR UPDATE`;
      const uses = await tx.jobConnection.findMany({
        where: { connectionId: row.id, job: { deletedAt: null } },
        select: { job: { select: { name: true } } },
        take: 20,
      });
      if (uses.length > 0) {
        const names = uses.map(({ job }) => job.name).join(", ");
        throw conflict(`the ${role} "${row.name}" is used by: ${names}; delete or change these jobs first`);
      }
      await tx.connection.update({
        where: { id: row.id },
        data: { deletedAt: new Date(), updatedBy: principal.name },
      });
      await audit(tx, principal, entry(`${role}.delete`, row));
      return this.present(row);
    });
  }

  /**
   * The connection that an inline description means: one of that name with the same type, version and an equal
   * or masked configuration is reused, an unknown name is created, any other difference is a conflict.
   */
  async resolveIn(
    tx: PrismaTransaction,
    principal: Principal,
    project: Project,
    role: Role,
    input: ConnectionInput,
  ): Promise<Connection> {
    // Held, so that it is neither changed nor deleted until the job that uses it can be seen.
    const [held] = await tx.$queryRaw<{ id: string }[]>`
      SELECT id FROM connections WHERE project_id = ${project.id}::uuid AND role = ${role} AND name = ${input.name}
        AND deleted_at IS NULL FOR SHARE`;
    if (held === undefined) {
      requireScope(principal, `${role}:write`);
      return this.createIn(tx, principal, project, role, input);
    }
    const row = await tx.connection.findUniqueOrThrow({ where: { id: held.id } });
    const spec = this.spec(role, input.type, input.version);
    const different = conflict(
      `a ${role} named "${input.name}" exists with another type, version or config; change it by PUT, or use another name`,
    );
    if (row.type !== input.type || row.version !== input.version) throw different;
    const stored = this.#open(row);
    const config = unmask(input.config, stored, spec.secretFields);
    checkConfig(spec, config);
    if (!sameConfig(spec, config, stored)) throw different;
    return this.present(row);
  }

  /** What is stored, secrets in clear, for a worker or a test of the connection. */
  async reveal(id: string): Promise<{ type: string; version: string; name: string; config: Config }> {
    const row = await this.#prisma.connection.findUnique({ where: { id } });
    if (row === null) throw notFound("connection");
    const stored = this.#open(row);
    const spec = this.#catalog.spec(row.role as Role, row.type, row.version);
    const config = spec === null ? stored : withDefaults(spec, stored);
    return { type: row.type, version: row.version, name: row.name, config };
  }

  async #row(tx: PrismaTransaction, project: Project, role: Role, number: number): Promise<Row> {
    const row = await tx.connection.findFirst({
      where: { projectId: project.id, organizationId: project.organizationId, role, number, deletedAt: null },
    });
    if (row === null) throw notFound(role);
    return row;
  }

  #open(row: Row): Config {
    return openConfig(this.#masterKey, row);
  }

  /** A row as callers see it: secrets masked. */
  present(row: Row): Connection {
    const stored = this.#open(row);
    const open = row.config as Config;
    const secretFields = Object.keys(stored).filter((field) => !(field in open));
    return {
      ...row,
      role: row.role as Role,
      configForm: row.configForm as "object" | "text",
      config: maskSecrets(open, secretFields),
    };
  }
}

/** For what a route's own scopes do not cover. */
function requireScope(principal: Principal, scope: Scope): void {
  if (principal.scopes.has(scope)) return;
  throw new AppError("insufficient_scope", `the scope ${scope} is required to create it`, {
    details: { scope },
  });
}

function entry(action: string, row: Row): AuditEntry {
  return {
    action,
    target: { type: row.role, id: row.id },
    projectId: row.projectId,
    details: { name: row.name },
  };
}

function taken(error: unknown, role: Role, name: string): unknown {
  return isUniqueViolation(error)
    ? conflict(`a ${role} named "${name}" exists already in this project`)
    : error;
}
