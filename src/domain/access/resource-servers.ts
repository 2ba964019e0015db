import type { Principal } from "../../auth/principal.js";
import type { DialectName } from "../../auth/resource-servers.js";
import { expandScopes, nameScopes, type Scope, TENANT_SCOPES } from "../../auth/scopes.js";
import { conflict, invalid, notFound } from "../../platform/errors.js";
import { newId, parseId } from "../../platform/ids.js";
import { isUniqueViolation, type PrismaClient, type PrismaTransaction } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import { parseScopes, requireAllProjects, requireGrant } from "./authority.js";

export const DIALECTS: readonly DialectName[] = ["core", "project", "topics", "runs", "deployments"];

/** What a token can be asked for, registered by an organization. */
export interface ResourceServerView {
  readonly id: string;
  readonly organizationId: string;
  /** The name that clients ask for. */
  readonly identifier: string;
  /** The `aud` of its tokens: the identifier where that is a URI, else a URN of it (RFC 9068 section 3). */
  readonly audience: string;
  readonly name: string;
  /** Seconds. */
  readonly tokenLifetime: number;
  readonly scopes: ReadonlySet<Scope>;
  readonly dialects: readonly DialectName[];
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What may be changed of one. Its identifier stays: tokens that are out name it. */
export interface ResourceServerChanges {
  readonly name?: string | undefined;
  readonly tokenLifetime?: number | undefined;
  readonly scopes?: readonly string[] | undefined;
  readonly dialects?: readonly DialectName[] | undefined;
}

export interface ResourceServerInput extends ResourceServerChanges {
  readonly identifier: string;
}

const DEFAULT_LIFETIME = 3_600;
const BUILT_IN = ["service", "default"];
const URN = "urn:gatehouse:";
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

export class RegisteredResourceServers {
  readonly #prisma: PrismaClient;
  readonly #publicUrl: string;

  /** @param publicUrl without a slash at the end: what is below it is built in */
  constructor(prisma: PrismaClient, publicUrl: string) {
    this.#prisma = prisma;
    this.#publicUrl = publicUrl;
  }

  /** For the token endpoint: by what a client of the organization asked for; null where there is none. */
  async findByIdentifier(organizationId: string, identifier: string): Promise<ResourceServerView | null> {
    const named = identifier.startsWith(URN) ? identifier.slice(URN.length) : identifier;
    const row = await this.#prisma.resourceServer.findUnique({
      where: { organizationId_identifier: { organizationId, identifier: named } },
    });
    return row === null ? null : toView(row);
  }

  async list(principal: Principal, limit: number, after: string | null): Promise<ResourceServerView[]> {
    const rows = await this.#prisma.resourceServer.findMany({
      where: {
        organizationId: principal.organizationId,
        ...(after === null ? {} : { id: { gt: after } }),
      },
      orderBy: { id: "asc" },
      take: limit,
    });
    return rows.map(toView);
  }

  async get(principal: Principal, id: string): Promise<ResourceServerView> {
    return find(this.#prisma, principal, id);
  }

  async create(principal: Principal, input: ResourceServerInput): Promise<ResourceServerView> {
    requireAllProjects(principal, "registering a resource server");
    const identifier = this.#checkIdentifier(input.identifier);
    const scopes = input.scopes === undefined ? tenantPart(principal.scopes) : parseScopes(input.scopes);
    requireGrant(principal, { scopes, projects: "all" }, "the resource server");
    try {
      return await this.#prisma.$transaction(async (tx) => {
        const row = await tx.resourceServer.create({
          data: {
            id: newId(),
            organizationId: principal.organizationId,
            identifier,
            name: input.name ?? identifier,
            tokenLifetime: input.tokenLifetime ?? DEFAULT_LIFETIME,
            scopes: nameScopes(scopes),
            dialects: [...(input.dialects ?? DIALECTS)],
            createdBy: principal.name,
          },
        });
        const server = toView(row);
        await record(tx, principal, "resourceServer.create", server);
        return server;
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw conflict(`a resource server with the identifier "${identifier}" exists already`);
    }
  }

  /** A resource server limits what its tokens open, so only who has what it lets through may change it. */
  async update(
    principal: Principal,
    id: string,
    changes: ResourceServerChanges,
  ): Promise<ResourceServerView> {
    const scopes = changes.scopes === undefined ? undefined : parseScopes(changes.scopes);
    return this.#prisma.$transaction(async (tx) => {
      const before = await lock(tx, principal, id);
      requireGrant(principal, { scopes: scopes ?? before.scopes, projects: "all" }, "the resource server");
      const row = await tx.resourceServer.update({
        where: { id: before.id },
        data: {
          name: changes.name ?? before.name,
          tokenLifetime: changes.tokenLifetime ?? before.tokenLifetime,
          dialects: [...(changes.dialects ?? before.dialects)],
          ...(scopes === undefined ? {} : { scopes: nameScopes(scopes) }),
        },
      });
      const server = toView(row);
      await record(tx, principal, "resourceServer.update", server);
      return server;
    });
  }

  /** Its tokens open nothing any more. */
  async delete(principal: Principal, id: string): Promise<void> {
    await this.#prisma.$transaction(async (tx) => {
      const server = await lock(tx, principal, id);
      await tx.resourceServer.delete({ where: { id: server.id } });
      await record(tx, principal, "resourceServer.delete", server);
    });
  }

  /** A name, or an absolute URI without a fragment (RFC 8707 section 2); none that is built in or looks like it. */
  #checkIdentifier(identifier: string): string {
    const fault = NAME.test(identifier)
      ? null
      : URL.canParse(identifier) && !identifier.includes("#")
        ? null
        : "must be a name (letters, digits, . _ -) or an absolute URI without a fragment";
    const plain = identifier.toLowerCase().replace(/\/+$/, "");
    const builtIn = [...BUILT_IN, `${this.#publicUrl}/api`.toLowerCase()];
    const reserved =
      builtIn.includes(plain) || plain.startsWith(URN) ? "is built in: choose another identifier" : null;
    const message = fault ?? reserved;
    if (message === null) return identifier;
    throw invalid(`/identifier ${message}`, [{ path: "/identifier", message }]);
  }
}

async function find(tx: PrismaTransaction, principal: Principal, id: string): Promise<ResourceServerView> {
  const parsed = parseId(id);
  const row =
    parsed === null
      ? null
      : await tx.resourceServer.findFirst({
          where: { id: parsed, organizationId: principal.organizationId },
        });
  if (row === null) throw notFound("resource server");
  return toView(row);
}

/** The resource server as it stays until the end of the transaction, for who has all that it lets through. */
async function lock(tx: PrismaTransaction, principal: Principal, id: string): Promise<ResourceServerView> {
  const found = await find(tx, principal, id);
  await tx.$queryRaw`SELECT 1 FROM resource_servers WHERE id = ${found.id}::uuid FOR UPDATE`;
  const server = await find(tx, principal, found.id);
  requireAllProjects(principal, "changing a resource server");
  requireGrant(principal, { scopes: server.scopes, projects: "all" }, `the resource server "${server.name}"`);
  return server;
}

interface Row extends Omit<ResourceServerView, "audience" | "scopes" | "dialects"> {
  readonly scopes: readonly string[];
  readonly dialects: readonly string[];
}

function toView(row: Row): ResourceServerView {
  return {
    ...row,
    audience: URL.canParse(row.identifier) ? row.identifier : `${URN}${row.identifier}`,
    scopes: expandScopes(row.scopes),
    dialects: row.dialects as DialectName[],
  };
}

function tenantPart(scopes: ReadonlySet<Scope>): Set<Scope> {
  return new Set<Scope>(TENANT_SCOPES.filter((scope) => scopes.has(scope)));
}

function record(
  tx: PrismaTransaction,
  principal: Principal,
  action: string,
  { id, identifier, scopes, dialects, tokenLifetime }: ResourceServerView,
): Promise<void> {
  const details = { identifier, scopes: nameScopes(scopes), dialects, tokenLifetime };
  return audit(tx, principal, { action, target: { type: "resourceServer", id }, details });
}
