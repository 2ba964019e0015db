import type { Principal, ProjectAccess } from "../../auth/principal.js";
import { expandScopes, type Scope } from "../../auth/scopes.js";
import { notFound } from "../../platform/errors.js";
import { parseId } from "../../platform/ids.js";
import type { PrismaTransaction } from "../../platform/prisma.js";
import { projectsOf, requireGrant, visibleHolders } from "./authority.js";
import type { PublicJwks } from "./jwks.js";

export const GRANT_TYPES = ["client_credentials", "password"] as const;
export type GrantType = (typeof GRANT_TYPES)[number];

/** What may be known of a secret. */
export interface SecretView {
  readonly id: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly lastUsedAt: Date | null;
}

/** An API client as callers see it. */
export interface ClientView {
  readonly id: string;
  /** The OAuth2 client_id. */
  readonly clientId: string;
  readonly organizationId: string;
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  readonly projects: ProjectAccess;
  readonly grantTypes: readonly GrantType[];
  readonly tokenLifetime: number | null;
  readonly jwks: PublicJwks | null;
  readonly dpopBound: boolean;
  readonly disabledAt: Date | null;
  readonly expiresAt: Date | null;
  readonly lastUsedAt: Date | null;
  readonly secrets: readonly SecretView[];
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What is read of a client. The hashes of its secrets stay where they are. */
export const CLIENT_VIEW = {
  projects: { select: { projectId: true }, orderBy: { projectId: "asc" } },
  secrets: {
    select: { id: true, createdAt: true, expiresAt: true, lastUsedAt: true },
    orderBy: { id: "asc" },
  },
} as const;

interface ClientRow extends Omit<ClientView, "scopes" | "projects" | "grantTypes" | "jwks"> {
  readonly scopes: readonly string[];
  readonly grantTypes: readonly string[];
  readonly allProjects: boolean;
  readonly projects: readonly { readonly projectId: string }[];
  readonly jwks: unknown;
}

export function toClientView({ allProjects, ...row }: ClientRow): ClientView {
  return {
    ...row,
    scopes: expandScopes(row.scopes),
    grantTypes: row.grantTypes as GrantType[],
    projects: projectsOf({ allProjects, projects: row.projects }),
    jwks: row.jwks as PublicJwks | null,
  };
}

/** Reads a client by its id or its client_id; not found where the principal may not see it. */
export async function findClient(
  tx: PrismaTransaction,
  principal: Principal,
  reference: string,
): Promise<ClientView> {
  const id = parseId(reference);
  const row = await tx.apiClient.findFirst({
    where: {
      ...visibleHolders(principal),
      OR: [{ clientId: reference }, ...(id === null ? [] : [{ id }])],
    },
    include: CLIENT_VIEW,
  });
  if (row === null) throw notFound("client");
  return toClientView(row);
}

/** The client as it stays until the end of the transaction, once the principal is found to have all that it has. */
export async function lockClient(
  tx: PrismaTransaction,
  principal: Principal,
  reference: string,
): Promise<ClientView> {
  const { id } = await findClient(tx, principal, reference);
  await tx.$queryRaw`SELECT 1 FROM api_clients WHERE id = ${id}::uuid FOR UPDATE`;
  const client = await findClient(tx, principal, id);
  requireGrant(principal, client, `the client "${client.name}"`);
  return client;
}
