import { API_KEY_PREFIX } from "../../auth/api-keys.js";
import type { Principal, ProjectAccess } from "../../auth/principal.js";
import { expandScopes, nameScopes, type Scope } from "../../auth/scopes.js";
import type { Clock } from "../../platform/clock.js";
import type { MasterKey } from "../../platform/crypto.js";
import { conflict, invalid, notFound } from "../../platform/errors.js";
import { newId, newSecret } from "../../platform/ids.js";
import { isUniqueViolation, type PrismaClient, type PrismaTransaction } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import {
  chooseProjects,
  type ProjectChoice,
  projectLinks,
  projectsOf,
  requireGrant,
  visibleHolders,
} from "./authority.js";
import { applyPermissions, type PermissionChanges } from "./permissions.js";

/** An API key as callers see it. */
export interface ApiKeyView {
  /** The UUID. */
  readonly id: string;
  /** The id of the topics API, which a client may choose. */
  readonly key: string;
  readonly name: string;
  /** First characters of the key. */
  readonly prefix: string;
  readonly scopes: ReadonlySet<Scope>;
  readonly projects: ProjectAccess;
  /** Null, or what locks it against changes. */
  readonly locked: string | null;
  readonly disabledAt: Date | null;
  readonly expiresAt: Date | null;
  readonly lastUsedAt: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface ApiKeyChanges extends PermissionChanges, ProjectChoice {
  readonly name?: string | undefined;
  readonly expiresAt?: Date | null | undefined;
  readonly disabled?: boolean | undefined;
}

export interface ApiKeyInput extends Omit<ApiKeyChanges, "disabled"> {
  readonly key?: string | undefined;
  readonly name: string;
}

export interface CreatedApiKey {
  readonly apiKey: ApiKeyView;
  /** The key itself: the only time that it is seen. */
  readonly secret: string;
}

export interface ApiKeyPage {
  readonly limit: number;
  readonly offset: number;
  readonly order: readonly (readonly [field: ApiKeyOrder, direction: "asc" | "desc"])[];
}

export type ApiKeyOrder = "key" | "name" | "createdAt" | "updatedAt";

export interface ApiKeyDeps {
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
}

/** How much of a key is kept to recognize it by; more than enough stays unknown. */
const PREFIX_LENGTH = API_KEY_PREFIX.length + 8;

/** Static keys with read or write per topic. */
export class ApiKeys {
  readonly #deps: ApiKeyDeps;

  constructor(deps: ApiKeyDeps) {
    this.#deps = deps;
  }

  async list(
    principal: Principal,
    { limit, offset, order }: ApiKeyPage,
  ): Promise<{ readonly apiKeys: ApiKeyView[]; readonly total: number }> {
    const where = visibleHolders(principal);
    const [rows, total] = await this.#deps.prisma.$transaction([
      this.#deps.prisma.apiKey.findMany({
        where,
        include: VIEW,
        orderBy: [...order.map(([field, direction]) => ({ [field]: direction })), { id: "asc" }],
        skip: offset,
        take: limit,
      }),
      this.#deps.prisma.apiKey.count({ where }),
    ]);
    return { apiKeys: rows.map(toView), total };
  }

  async get(principal: Principal, key: string): Promise<ApiKeyView> {
    return find(this.#deps.prisma, principal, key);
  }

  async create(principal: Principal, input: ApiKeyInput): Promise<CreatedApiKey> {
    const { prisma, masterKey } = this.#deps;
    const id = newId();
    const secret = `${API_KEY_PREFIX}${newSecret()}`;
    const scopes = applyPermissions(new Set(), input);
    const expiresAt = input.expiresAt ?? null;
    this.#requireFuture(expiresAt);
    try {
      return await prisma.$transaction(async (tx) => {
        const projects = await chooseProjects(tx, principal, input);
        requireGrant(principal, { scopes, projects }, "the API key");
        const row = await tx.apiKey.create({
          data: {
            id,
            organizationId: principal.organizationId,
            key: input.key ?? `key_${id}`,
            name: input.name,
            prefix: secret.slice(0, PREFIX_LENGTH),
            hash: masterKey.hash("api-keys", secret),
            keyId: masterKey.id,
            scopes: nameScopes(scopes),
            allProjects: projects === "all",
            projects: { create: projectLinks(projects) },
            expiresAt,
            createdBy: principal.name,
          },
          include: VIEW,
        });
        const apiKey = toView(row);
        await record(tx, principal, "apiKey.create", apiKey, describe(apiKey));
        return { apiKey, secret };
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw conflict(`an API key with the id "${input.key ?? id}" exists already`);
    }
  }

  /** Changes what is given; it holds from the next request on. */
  async update(principal: Principal, key: string, changes: ApiKeyChanges): Promise<ApiKeyView> {
    const { prisma, clock } = this.#deps;
    return prisma.$transaction(async (tx) => {
      const before = await lock(tx, principal, key);
      const chosen = changes.allProjects !== undefined || changes.projects !== undefined;
      const projects = chosen ? await chooseProjects(tx, principal, changes) : before.projects;
      const scopes = applyPermissions(before.scopes, changes);
      requireGrant(principal, { scopes, projects }, "the API key");
      const disabled = changes.disabled ?? before.disabledAt !== null;
      const row = await tx.apiKey.update({
        where: { id: before.id },
        data: {
          name: changes.name ?? before.name,
          scopes: nameScopes(scopes),
          allProjects: projects === "all",
          ...(chosen ? { projects: { deleteMany: {}, create: projectLinks(projects) } } : {}),
          expiresAt: changes.expiresAt === undefined ? before.expiresAt : changes.expiresAt,
          disabledAt: disabled ? (before.disabledAt ?? clock.now()) : null,
        },
        include: VIEW,
      });
      const apiKey = toView(row);
      const changed = Object.keys(changes);
      await record(tx, principal, "apiKey.update", apiKey, { changed, ...describe(apiKey) });
      return apiKey;
    });
  }

  async delete(principal: Principal, key: string): Promise<void> {
    await this.#deps.prisma.$transaction(async (tx) => {
      const apiKey = await lock(tx, principal, key);
      await tx.apiKey.delete({ where: { id: apiKey.id } });
      await record(tx, principal, "apiKey.delete", apiKey, {});
    });
  }

  #requireFuture(expiresAt: Date | null): void {
    if (expiresAt === null || expiresAt > this.#deps.clock.now()) return;
    const message = "must be in the future";
    throw invalid(`/expiresAt ${message}`, [{ path: "/expiresAt", message }]);
  }
}

const VIEW = { projects: { select: { projectId: true }, orderBy: { projectId: "asc" } } } as const;

interface Row extends Omit<ApiKeyView, "scopes" | "projects"> {
  readonly scopes: readonly string[];
  readonly allProjects: boolean;
  readonly projects: readonly { readonly projectId: string }[];
  readonly hash: Uint8Array;
}

/** A row without its hash. */
function toView({ hash: _hash, allProjects, ...row }: Row): ApiKeyView {
  const projects = projectsOf({ allProjects, projects: row.projects });
  return { ...row, scopes: expandScopes(row.scopes), projects };
}

async function find(tx: PrismaTransaction, principal: Principal, key: string): Promise<ApiKeyView> {
  const row = await tx.apiKey.findFirst({ where: { ...visibleHolders(principal), key }, include: VIEW });
  if (row === null) throw notFound("apiKey");
  return toView(row);
}

/** The key as it stays until the end of the transaction, where the principal has all that it has. */
async function lock(tx: PrismaTransaction, principal: Principal, key: string): Promise<ApiKeyView> {
  const { id } = await find(tx, principal, key);
  await tx.$queryRaw`SELECT 1 FROM api_keys WHERE id = ${id}::uuid FOR UPDATE`;
  const apiKey = await find(tx, principal, key);
  requireGrant(principal, apiKey, `the API key "${apiKey.name}"`);
  if (apiKey.locked !== null) {
    throw conflict(
      `the API key "${apiKey.key}" is locked (${apiKey.locked}): change it where it is written down`,
    );
  }
  return apiKey;
}

function describe({ scopes, projects, expiresAt, disabledAt }: ApiKeyView) {
  return {
    scopes: nameScopes(scopes),
    projects: projects === "all" ? "all" : [...projects],
    expiresAt,
    disabled: disabledAt !== null,
  };
}

function record(
  tx: PrismaTransaction,
  principal: Principal,
  action: string,
  { id, key, name, prefix }: ApiKeyView,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  const target = { type: "apiKey", id };
  return audit(tx, principal, { action, target, details: { key, name, prefix, ...details } });
}
