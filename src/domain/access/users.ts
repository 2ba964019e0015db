import type { Principal, ProjectAccess } from "../../auth/principal.js";
import { ROLE_SCOPES, type Role, scopesOfRole } from "../../auth/roles.js";
import type { Clock } from "../../platform/clock.js";
import { conflict, invalid, notFound } from "../../platform/errors.js";
import { newId, parseId } from "../../platform/ids.js";
import { isUniqueViolation, type PrismaClient, type PrismaTransaction } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import { canonicalNames } from "../people/names.js";
import { hashPassword, requireGoodPassword } from "../people/passwords.js";
import {
  chooseProjects,
  includes,
  type ProjectChoice,
  projectLinks,
  projectsOf,
  requireGrant,
  visibleHolders,
} from "./authority.js";

/** A person as administrators see it. */
export interface UserView {
  readonly id: string;
  readonly organizationId: string;
  readonly username: string;
  readonly email: string;
  readonly role: Role;
  readonly projects: ProjectAccess;
  readonly disabledAt: Date | null;
  /** Until when logins are refused, after too many failed ones. */
  readonly lockedUntil: Date | null;
  readonly lastLoginAt: Date | null;
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface UserInput extends ProjectChoice {
  readonly username: string;
  readonly email: string;
  readonly password: string;
  readonly role?: Role | undefined;
}

export interface UserChanges extends ProjectChoice {
  readonly email?: string | undefined;
  readonly role?: Role | undefined;
  readonly disabled?: boolean | undefined;
}

export interface UserDeps {
  readonly prisma: PrismaClient;
  readonly clock: Clock;
}

/** Users, as administrators manage them. Nobody makes or changes one that may do more than themselves. */
export class Users {
  readonly #deps: UserDeps;

  constructor(deps: UserDeps) {
    this.#deps = deps;
  }

  async list(principal: Principal, limit: number, after: string | null): Promise<UserView[]> {
    const rows = await this.#deps.prisma.user.findMany({
      where: { ...visibleHolders(principal), ...(after === null ? {} : { id: { gt: after } }) },
      include: VIEW,
      orderBy: { id: "asc" },
      take: limit,
    });
    return rows.map(toView);
  }

  async get(principal: Principal, id: string): Promise<UserView> {
    return find(this.#deps.prisma, principal, id);
  }

  async create(principal: Principal, input: UserInput): Promise<UserView> {
    const { prisma } = this.#deps;
    const role = input.role ?? "viewer";
    const names = canonicalNames(input);
    requireGoodPassword(input.password, names);
    // Before the expensive hash: who may not make such a user costs nothing.
    requireGrant(principal, { scopes: ROLE_SCOPES[role], projects: new Set() }, `the role ${role}`);
    await chooseProjects(prisma, principal, input);
    const passwordHash = await hashPassword(input.password);
    try {
      return await prisma.$transaction(async (tx) => {
        const projects = await chooseProjects(tx, principal, input);
        requireOwnerOfAll(role, projects);
        const row = await tx.user.create({
          data: {
            id: newId(),
            organizationId: principal.organizationId,
            ...names,
            passwordHash,
            role,
            allProjects: projects === "all",
            projects: { create: projectLinks(projects) },
            createdBy: principal.name,
          },
          include: VIEW,
        });
        const user = toView(row);
        await record(tx, principal, "user.create", user, describe(user));
        return user;
      });
    } catch (error) {
      throw taken(error);
    }
  }

  /** Changes what is given. Whatever takes something away ends the user's sessions and tokens. */
  async update(principal: Principal, id: string, changes: UserChanges): Promise<UserView> {
    try {
      return await this.#deps.prisma.$transaction(async (tx) => {
        const before = await lock(tx, principal, id);
        const chosen = changes.allProjects !== undefined || changes.projects !== undefined;
        const disabled = changes.disabled ?? before.disabledAt !== null;
        const email = changes.email ?? before.email;
        const after: UserView = {
          ...before,
          ...canonicalNames({ username: before.username, email }),
          role: changes.role ?? before.role,
          projects: chosen ? await chooseProjects(tx, principal, changes) : before.projects,
          disabledAt: disabled ? (before.disabledAt ?? this.#deps.clock.now()) : null,
        };
        requireGrant(principal, grantOf(after), `the role ${after.role}`);
        requireOwnerOfAll(after.role, after.projects);
        if (after.role !== "owner" || disabled) await refuseLastOwner(tx, before);
        const disables = disabled && before.disabledAt === null;
        const row = await tx.user.update({
          where: { id: before.id },
          data: {
            email: after.email,
            role: after.role,
            allProjects: after.projects === "all",
            ...(chosen ? { projects: { deleteMany: {}, create: projectLinks(after.projects) } } : {}),
            disabledAt: after.disabledAt,
            ...(disables || !includes(grantOf(after), grantOf(before)) ? BUMP : {}),
          },
          include: VIEW,
        });
        const user = toView(row);
        await record(tx, principal, "user.update", user, {
          changed: Object.keys(changes),
          ...describe(user),
        });
        return user;
      });
    } catch (error) {
      throw taken(error);
    }
  }

  /** Gives a user a new password: the old one, its sessions and tokens are over, and so is a lock-out. */
  async resetPassword(principal: Principal, id: string, password: string): Promise<void> {
    const { prisma } = this.#deps;
    const found = await find(prisma, principal, id);
    requireGrant(principal, grantOf(found), `the user ${found.username}`);
    requireGoodPassword(password, found);
    const passwordHash = await hashPassword(password);
    await prisma.$transaction(async (tx) => {
      const user = await lock(tx, principal, id);
      await tx.user.update({
        where: { id: user.id },
        data: { passwordHash, failedLogins: 0, lockedUntil: null, ...BUMP },
      });
      await record(tx, principal, "user.password.reset", user, {});
    });
  }

  async delete(principal: Principal, id: string): Promise<void> {
    await this.#deps.prisma.$transaction(async (tx) => {
      const user = await lock(tx, principal, id);
      await refuseLastOwner(tx, user);
      await tx.user.delete({ where: { id: user.id } });
      await record(tx, principal, "user.delete", user, {});
    });
  }
}

const VIEW = { projects: { select: { projectId: true }, orderBy: { projectId: "asc" } } } as const;
/** Ends sessions and tokens: they carry the generation that they were made under. */
const BUMP = { generation: { increment: 1 } } as const;

interface Row extends Omit<UserView, "role" | "projects"> {
  readonly role: string;
  readonly allProjects: boolean;
  readonly projects: readonly { readonly projectId: string }[];
  readonly passwordHash: string;
}

/** A row without its hash. */
function toView({ passwordHash: _hash, allProjects, ...row }: Row): UserView {
  return { ...row, role: row.role as Role, projects: projectsOf({ allProjects, projects: row.projects }) };
}

function grantOf({ role, projects }: UserView) {
  return { scopes: scopesOfRole(role), projects };
}

async function find(tx: PrismaTransaction, principal: Principal, id: string): Promise<UserView> {
  const parsed = parseId(id);
  const row =
    parsed === null
      ? null
      : await tx.user.findFirst({ where: { ...visibleHolders(principal), id: parsed }, include: VIEW });
  if (row === null) throw notFound("user");
  return toView(row);
}

/** The user as it stays until the end of the transaction, once the principal is found to be nobody lesser. */
async function lock(tx: PrismaTransaction, principal: Principal, id: string): Promise<UserView> {
  const { organizationId } = principal;
  // Of the organization: two owners who remove each other at the same time do so one after the other.
  await tx.$queryRaw`SELECT 1 FROM organizations WHERE id = ${organizationId}::uuid FOR NO KEY UPDATE`;
  const found = await find(tx, principal, id);
  await tx.$queryRaw`SELECT 1 FROM users WHERE id = ${found.id}::uuid FOR UPDATE`;
  const user = await find(tx, principal, found.id);
  requireGrant(principal, grantOf(user), `the user ${user.username}`);
  return user;
}

/** An organization that people own is never left without an owner who can log in. */
async function refuseLastOwner(
  tx: PrismaTransaction,
  { id, organizationId, role, disabledAt }: UserView,
): Promise<void> {
  if (role !== "owner" || disabledAt !== null) return;
  const others = await tx.user.count({
    where: { organizationId, role: "owner", disabledAt: null, id: { not: id } },
  });
  if (others === 0) throw conflict("this is the last owner of the organization: make another one first");
}

function requireOwnerOfAll(role: Role, projects: ProjectAccess): void {
  if (role !== "owner" || projects === "all") return;
  const message = "must be true for an owner";
  throw invalid(`/allProjects ${message}`, [{ path: "/allProjects", message }]);
}

function describe({ role, projects, disabledAt }: UserView) {
  return { role, projects: projects === "all" ? "all" : [...projects], disabled: disabledAt !== null };
}

function record(
  tx: PrismaTransaction,
  principal: Principal,
  action: string,
  { id, username }: UserView,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  return audit(tx, principal, { action, target: { type: "user", id }, details: { username, ...details } });
}

/** User names and addresses are unique in the installation: people log in by them alone. */
function taken(error: unknown): unknown {
  return isUniqueViolation(error)
    ? conflict("the user name or the e-mail address is taken: choose another one")
    : error;
}
