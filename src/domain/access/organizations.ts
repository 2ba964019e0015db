import { createClient } from "../../auth/clients.js";
import type { Principal } from "../../auth/principal.js";
import { ROLE_SCOPES } from "../../auth/roles.js";
import type { Clock } from "../../platform/clock.js";
import type { MasterKey } from "../../platform/crypto.js";
import { conflict, notFound } from "../../platform/errors.js";
import { newId, parseId } from "../../platform/ids.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import type { ProjectInput } from "../projects/projects.js";
import type { Project } from "../projects/reference.js";

export interface OrganizationView {
  readonly id: string;
  readonly name: string;
  /** From when on nobody of it gets in. */
  readonly disabledAt: Date | null;
  /** Operations that it has running at once; null: as many as the installation says. */
  readonly concurrency: number | null;
  readonly createdAt: Date;
}

/** What is absent stays. */
export interface OrganizationChange {
  readonly name?: string | undefined;
  readonly concurrency?: number | null | undefined;
}

export interface OrganizationInput {
  readonly name: string;
  /** Its first project. */
  readonly project: ProjectInput;
  /** The name of its first client. */
  readonly administrator: string;
}

/** A new tenant, and the credentials of who runs it: the only time that the secret is seen. */
export interface CreatedOrganization {
  readonly organization: OrganizationView;
  readonly project: Project;
  readonly client: { readonly id: string; readonly clientId: string; readonly clientSecret: string };
}

export interface OrganizationDeps {
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
}

/** The tenants of the installation. Every route to here needs `platform:admin`. */
export class Organizations {
  readonly #deps: OrganizationDeps;

  constructor(deps: OrganizationDeps) {
    this.#deps = deps;
  }

  async list(limit: number, after: string | null): Promise<OrganizationView[]> {
    return this.#deps.prisma.organization.findMany({
      ...(after === null ? {} : { where: { id: { gt: after } } }),
      orderBy: { id: "asc" },
      take: limit,
    });
  }

  async get(id: string): Promise<OrganizationView> {
    return find(this.#deps.prisma, id);
  }

  /**
   * A tenant that can work: with a project and a client that may do there what an owner may. `platform:admin` is
   * never handed to a new tenant.
   */
  async create(principal: Principal, input: OrganizationInput): Promise<CreatedOrganization> {
    const { prisma, masterKey } = this.#deps;
    return prisma.$transaction(async (tx) => {
      const organization = await tx.organization.create({ data: { id: newId(), name: input.name } });
      const project = await tx.project.create({
        data: { id: newId(), organizationId: organization.id, ...input.project },
      });
      const client = await createClient(tx, masterKey, {
        organizationId: organization.id,
        name: input.administrator,
        scopes: ROLE_SCOPES.owner,
        projects: "all",
      });
      await record(tx, principal, "organization.create", organization, { clientId: client.clientId });
      return { organization, project, client };
    });
  }

  async change(principal: Principal, id: string, change: OrganizationChange): Promise<OrganizationView> {
    return this.#deps.prisma.$transaction(async (tx) => {
      const before = await lock(tx, id);
      const { name = before.name, concurrency = before.concurrency } = change;
      const organization = await tx.organization.update({
        where: { id: before.id },
        data: { name, concurrency },
      });
      const details = { before: { name: before.name, concurrency: before.concurrency }, concurrency };
      await record(tx, principal, "organization.change", organization, details);
      return organization;
    });
  }

  /** Nobody of it gets in any more; tokens and sessions that are out stay dead when it is enabled again. */
  async disable(principal: Principal, id: string): Promise<OrganizationView> {
    return this.#deps.prisma.$transaction(async (tx) => {
      const before = await lock(tx, id);
      if (before.id === principal.organizationId) {
        throw conflict("this is your own organization: nobody would be left to enable it again");
      }
      if (before.disabledAt !== null) return before;
      const organization = await tx.organization.update({
        where: { id: before.id },
        data: { disabledAt: this.#deps.clock.now() },
      });
      const ofIt = { where: { organizationId: before.id }, data: { generation: { increment: 1 } } };
      await tx.apiClient.updateMany(ofIt);
      await tx.user.updateMany(ofIt);
      await record(tx, principal, "organization.disable", organization, {});
      return organization;
    });
  }

  async enable(principal: Principal, id: string): Promise<OrganizationView> {
    return this.#deps.prisma.$transaction(async (tx) => {
      const before = await lock(tx, id);
      if (before.disabledAt === null) return before;
      const organization = await tx.organization.update({
        where: { id: before.id },
        data: { disabledAt: null },
      });
      await record(tx, principal, "organization.enable", organization, {});
      return organization;
    });
  }
}

async function find(tx: PrismaTransaction, id: string): Promise<OrganizationView> {
  const parsed = parseId(id);
  const row = parsed === null ? null : await tx.organization.findUnique({ where: { id: parsed } });
  if (row === null) throw notFound("organization");
  return row;
}

/** The organization as it stays until the end of the transaction; its rows elsewhere may go on changing. */
async function lock(tx: PrismaTransaction, id: string): Promise<OrganizationView> {
  const found = await find(tx, id);
  await tx.$queryRaw`SELECT 1 FROM organizations WHERE id = ${found.id}::uuid FOR NO KEY UPDATE`;
  return find(tx, found.id);
}

function record(
  tx: PrismaTransaction,
  principal: Principal,
  action: string,
  { id, name }: OrganizationView,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  return audit(tx, principal, {
    action,
    target: { type: "organization", id },
    details: { name, ...details },
  });
}
