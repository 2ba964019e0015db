import { randomBytes } from "node:crypto";
import { hashedSecret } from "../../auth/clients.js";
import type { Principal } from "../../auth/principal.js";
import { isAdministrator } from "../../auth/roles.js";
import { nameScopes } from "../../auth/scopes.js";
import type { Clock } from "../../platform/clock.js";
import type { MasterKey } from "../../platform/crypto.js";
import { AppError, invalid } from "../../platform/errors.js";
import { Prisma } from "../../platform/generated/client.js";
import { newId, newSecret } from "../../platform/ids.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import {
  chooseProjects,
  includes,
  type ProjectChoice,
  parseScopes,
  projectLinks,
  requireGrant,
  visibleHolders,
} from "./authority.js";
import {
  CLIENT_VIEW,
  type ClientView,
  findClient,
  type GrantType,
  lockClient,
  toClientView,
} from "./client-view.js";
import { checkJwks, keepsKeys, type PublicJwks } from "./jwks.js";

/** What a client is to be, as a caller says it. */
export interface ClientInput extends ProjectChoice {
  readonly name: string;
  readonly scopes: readonly string[];
  readonly grantTypes?: readonly GrantType[] | undefined;
  /** Seconds; null: the resource server's. */
  readonly tokenLifetime?: number | null | undefined;
  readonly expiresAt?: Date | null | undefined;
  /** Given: the client authenticates by these keys and has no secret. */
  readonly jwks?: { readonly keys: readonly object[] } | null | undefined;
  readonly dpopBound?: boolean | undefined;
}

export interface CreatedClient {
  readonly client: ClientView;
  /** The only time that it is seen; null for a client that authenticates by its own keys. */
  readonly clientSecret: string | null;
}

export interface ClientDeps {
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
  /** Tells the processes that judge tokens to look at a client (by its client_id) again, sooner than they would. */
  readonly changed: (clientId: string) => void;
}

/** API clients, as their administrators see them. Tokens are issued elsewhere (`src/auth`), by the same rows. */
export class Clients {
  readonly #deps: ClientDeps;

  constructor(deps: ClientDeps) {
    this.#deps = deps;
  }

  async list(principal: Principal, limit: number, after: string | null): Promise<ClientView[]> {
    const rows = await this.#deps.prisma.apiClient.findMany({
      where: { ...visibleHolders(principal), ...(after === null ? {} : { id: { gt: after } }) },
      include: CLIENT_VIEW,
      orderBy: { id: "asc" },
      take: limit,
    });
    return rows.map(toClientView);
  }

  async get(principal: Principal, reference: string): Promise<ClientView> {
    return findClient(this.#deps.prisma, principal, reference);
  }

  async create(principal: Principal, input: ClientInput): Promise<CreatedClient> {
    const { prisma, masterKey, clock } = this.#deps;
    const scopes = parseScopes(input.scopes);
    const grantTypes = input.grantTypes ?? ["client_credentials"];
    requireGrantTypes(principal, grantTypes);
    const expiresAt = input.expiresAt ?? null;
    if (expiresAt !== null && expiresAt <= clock.now()) throw past();
    const jwks = readJwks(input.jwks);
    const clientSecret = jwks === null ? newSecret() : null;
    return prisma.$transaction(async (tx) => {
      const projects = await chooseProjects(tx, principal, input);
      requireGrant(principal, { scopes, projects }, "the client");
      const row = await tx.apiClient.create({
        data: {
          id: newId(),
          clientId: randomBytes(16).toString("hex"),
          organizationId: principal.organizationId,
          name: input.name,
          // Stored by its name, the full tenant grant also covers topics that come later.
          scopes: nameScopes(scopes),
          grantTypes: [...grantTypes],
          allProjects: projects === "all",
          projects: { create: projectLinks(projects) },
          tokenLifetime: input.tokenLifetime ?? null,
          expiresAt,
          ...jwksColumn(jwks),
          dpopBound: input.dpopBound ?? false,
          createdBy: principal.name,
          ...(clientSecret === null
            ? {}
            : { secrets: { create: { id: newId(), ...hashedSecret(masterKey, clientSecret) } } }),
        },
        include: CLIENT_VIEW,
      });
      const client = toClientView(row);
      await recordClient(tx, principal, "client.create", client, describe(client));
      return { client, clientSecret };
    });
  }

  /** Changes what is given. Whatever takes something away ends the tokens that were issued before. */
  async update(principal: Principal, reference: string, changes: Partial<ClientInput>): Promise<ClientView> {
    const { prisma, clock } = this.#deps;
    const scopes = changes.scopes === undefined ? undefined : parseScopes(changes.scopes);
    const jwks = changes.jwks === undefined ? undefined : readJwks(changes.jwks);
    const updated = await prisma.$transaction(async (tx) => {
      const before = await lockClient(tx, principal, reference);
      const chosen = changes.allProjects !== undefined || changes.projects !== undefined;
      const after: ClientView = {
        ...before,
        name: changes.name ?? before.name,
        scopes: scopes ?? before.scopes,
        projects: chosen ? await chooseProjects(tx, principal, changes) : before.projects,
        grantTypes: changes.grantTypes ?? before.grantTypes,
        tokenLifetime: changes.tokenLifetime === undefined ? before.tokenLifetime : changes.tokenLifetime,
        expiresAt: changes.expiresAt === undefined ? before.expiresAt : changes.expiresAt,
        jwks: jwks === undefined ? before.jwks : jwks,
        dpopBound: changes.dpopBound ?? before.dpopBound,
      };
      requireGrant(principal, after, "the client");
      requireGrantTypes(principal, after.grantTypes, before.grantTypes);
      // Who authenticates by its own keys has no secrets.
      if (before.jwks === null && after.jwks !== null) {
        await tx.apiClientSecret.deleteMany({ where: { clientId: before.id } });
      }
      const row = await tx.apiClient.update({
        where: { id: before.id },
        data: {
          name: after.name,
          scopes: nameScopes(after.scopes),
          grantTypes: [...after.grantTypes],
          allProjects: after.projects === "all",
          ...(chosen ? { projects: { deleteMany: {}, create: projectLinks(after.projects) } } : {}),
          tokenLifetime: after.tokenLifetime,
          expiresAt: after.expiresAt,
          ...jwksColumn(after.jwks),
          dpopBound: after.dpopBound,
          ...bumpIf(takesAway(before, after, clock.now())),
        },
        include: CLIENT_VIEW,
      });
      const updated = toClientView(row);
      await recordClient(tx, principal, "client.update", updated, {
        changed: Object.keys(changes),
        ...describe(updated),
      });
      return updated;
    });
    this.#deps.changed(updated.clientId);
    return updated;
  }

  /** From now on it gets no token, and its tokens are no longer accepted: not even when it is enabled again. */
  async disable(principal: Principal, reference: string): Promise<ClientView> {
    return this.#setDisabled(principal, reference, this.#deps.clock.now());
  }

  async enable(principal: Principal, reference: string): Promise<ClientView> {
    return this.#setDisabled(principal, reference, null);
  }

  async #setDisabled(principal: Principal, reference: string, disabledAt: Date | null): Promise<ClientView> {
    const updated = await this.#deps.prisma.$transaction(async (tx) => {
      const client = await lockClient(tx, principal, reference);
      // Repeating it changes nothing, and is nothing to write down.
      if ((client.disabledAt === null) === (disabledAt === null)) return client;
      const row = await tx.apiClient.update({
        where: { id: client.id },
        data: { disabledAt, ...bumpIf(disabledAt !== null) },
        include: CLIENT_VIEW,
      });
      await recordClient(tx, principal, disabledAt === null ? "client.enable" : "client.disable", client, {});
      return toClientView(row);
    });
    this.#deps.changed(updated.clientId);
    return updated;
  }

  /** For good: its tokens die with its row. */
  async delete(principal: Principal, reference: string): Promise<void> {
    const { clientId } = await this.#deps.prisma.$transaction(async (tx) => {
      const client = await lockClient(tx, principal, reference);
      await tx.apiClient.delete({ where: { id: client.id } });
      await recordClient(tx, principal, "client.delete", client, {});
      return client;
    });
    this.#deps.changed(clientId);
  }
}

/** The part of an update that ends all tokens of a client. */
export function bumpIf(narrowed: boolean) {
  return narrowed ? { generation: { increment: 1 } } : {};
}

/** Writes down what was done to a client. */
export function recordClient(
  tx: PrismaTransaction,
  principal: Principal,
  action: string,
  { id, clientId, name }: ClientView,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  return audit(tx, principal, {
    action,
    target: { type: "client", id },
    details: { clientId, name, ...details },
  });
}

function describe({ scopes, projects, grantTypes, expiresAt, tokenLifetime, dpopBound, jwks }: ClientView) {
  return {
    scopes: nameScopes(scopes),
    projects: projects === "all" ? "all" : [...projects],
    ...{ grantTypes, expiresAt, tokenLifetime, dpopBound },
    keys: jwks?.keys.map(({ kid = null }) => kid) ?? null,
  };
}

/** Whether tokens that were issued before would still say more than the client now may. */
function takesAway(before: ClientView, after: ClientView, now: Date): boolean {
  const expired = ({ expiresAt }: ClientView): boolean => expiresAt !== null && expiresAt <= now;
  return (
    !includes(after, before) ||
    before.grantTypes.some((type) => !after.grantTypes.includes(type)) ||
    (before.jwks === null ? after.jwks !== null : !keepsKeys(before.jwks, after.jwks)) ||
    (after.dpopBound && !before.dpopBound) ||
    // One that comes back must not bring the tokens of its former life with it.
    expired(before) ||
    expired(after)
  );
}

/** People's passwords go through such a client, so an administrator has to want it. */
function requireGrantTypes(
  principal: Principal,
  wanted: readonly GrantType[],
  had: readonly GrantType[] = [],
): void {
  if (!wanted.includes("password") || had.includes("password") || isAdministrator(principal)) return;
  throw new AppError("forbidden", "only an administrator can allow a client the password grant");
}

function readJwks(sent: ClientInput["jwks"]): PublicJwks | null {
  return sent === null || sent === undefined ? null : checkJwks(sent);
}

function jwksColumn(jwks: PublicJwks | null) {
  return { jwks: jwks === null ? Prisma.DbNull : (jwks as object) };
}

function past(): AppError {
  const message = "must be in the future";
  return invalid(`/expiresAt ${message}`, [{ path: "/expiresAt", message }]);
}
