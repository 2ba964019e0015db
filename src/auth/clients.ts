import { hash, randomBytes } from "node:crypto";
import { type MasterKey, sameBytes } from "../platform/crypto.js";
import { newId, newSecret } from "../platform/ids.js";
import type { PrismaTransaction } from "../platform/prisma.js";
import type { Sql, Statement } from "../platform/sql.js";
import { hashesOf } from "./master-keys.js";
import type { ProjectAccess } from "./principal.js";
import { expandScopes, nameScopes, type Scope } from "./scopes.js";

/** A live or expired secret of a client, as stored: an HMAC, never the secret. */
export interface StoredSecret {
  readonly id: string;
  readonly hash: Uint8Array;
  /** The master key that the hash was made under. */
  readonly keyId: string;
  /** Milliseconds since 1970; null: for ever. */
  readonly expiresAt: number | null;
}

/** What the database says of an API client at one moment: what tokens are issued and judged by. */
export interface ClientRecord {
  readonly id: string;
  /** The OAuth2 client_id. */
  readonly clientId: string;
  readonly organizationId: string;
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  readonly grantTypes: readonly string[];
  readonly projects: ProjectAccess;
  /** Seconds; null: the resource server's. */
  readonly tokenLifetime: number | null;
  /** Bumped by every narrowing; tokens carry the one that they were issued under. */
  readonly generation: number;
  /** The client, or its whole organization. */
  readonly disabled: boolean;
  /** Milliseconds since 1970; null: never. */
  readonly expiresAt: number | null;
  readonly secrets: readonly StoredSecret[];
  /** Public keys that it may authenticate with (RFC 7523); null: it has none. */
  readonly jwks: PublicKeySet | null;
  /** It gets bound tokens alone (RFC 9449 section 5.2). */
  readonly dpopBound: boolean;
}

/** Public keys as RFC 7517 shows them, checked when they were stored. */
export interface PublicKeySet {
  readonly keys: readonly Readonly<Record<string, string>>[];
}

/** Neither disabled nor expired. */
export function isUsable(client: ClientRecord, now: number): boolean {
  return !client.disabled && (client.expiresAt === null || client.expiresAt > now);
}

export interface ClientRow {
  readonly id: string;
  readonly client_id: string;
  readonly organization_id: string;
  readonly name: string;
  readonly scopes: string[] | null;
  readonly grant_types: string[] | null;
  readonly all_projects: boolean;
  readonly token_lifetime: number | null;
  readonly generation: number;
  readonly disabled: boolean;
  readonly expires_at: Date | null;
  readonly projects: string[];
  readonly secrets: { id: string; hash: string; keyId: string; expiresAt: number | null }[];
  readonly jwks: PublicKeySet | null;
  readonly dpop_bound: boolean;
}

/** Clients by client_id, with their secrets and projects, in one go: the hot look-up of tokens and guards. */
export const FIND_CLIENTS: Statement = {
  name: "auth_find_clients",
  text: `SELECT c.id, c.client_id, c.organization_id, c.name, c.scopes, c.grant_types, c.all_projects,
       c.token_lifetime, c.generation, c.expires_at, c.jwks, c.dpop_bound,
       c.disabled_at IS NOT NULL OR o.disabled_at IS NOT NULL AS disabled,
       ARRAY(SELECT p.project_id::text FROM api_client_projects p
              WHERE p.client_id = c.id ORDER BY p.project_id) AS projects,
       (SELECT coalesce(json_agg(json_build_object(
                 'id', s.id, 'hash', encode(s.hash, 'base64'), 'keyId', s.key_id,
                 'expiresAt', extract(epoch FROM s.expires_at) * 1000) ORDER BY s.id), '[]')
          FROM api_client_secrets s WHERE s.client_id = c.id) AS secrets
  FROM api_clients c JOIN organizations o ON o.id = c.organization_id
 WHERE c.client_id = ANY($1::text[])`,
};

/** RFC 6749 appendix A.1: client ids are visible ASCII. Anything else names no client, and no query is made. */
const CLIENT_ID = /^[\x20-\x7e]{1,256}$/;

/** Whether a text could name a client. */
export function isClientId(text: string): boolean {
  return CLIENT_ID.test(text);
}

/** Reads the clients that exist among those asked for. */
export async function readClients(sql: Sql, clientIds: readonly string[]): Promise<ClientRow[]> {
  const plausible = clientIds.filter(isClientId);
  return plausible.length === 0 ? [] : sql.rows<ClientRow>(FIND_CLIENTS, [plausible]);
}

export function toClientRecord(row: ClientRow): ClientRecord {
  return {
    id: row.id,
    clientId: row.client_id,
    organizationId: row.organization_id,
    name: row.name,
    scopes: expandScopes(row.scopes ?? []),
    grantTypes: row.grant_types ?? [],
    projects: row.all_projects ? "all" : new Set(row.projects),
    tokenLifetime: row.token_lifetime,
    generation: row.generation,
    disabled: row.disabled,
    expiresAt: row.expires_at === null ? null : row.expires_at.getTime(),
    secrets: row.secrets.map(({ id, hash, keyId, expiresAt }) => ({
      id,
      hash: Buffer.from(hash, "base64"),
      keyId,
      expiresAt,
    })),
    jwks: row.jwks,
    dpopBound: row.dpop_bound,
  };
}

/** A live secret of a client, and how it was written by whoever presented it. */
export interface SecretMatch {
  readonly stored: StoredSecret;
  readonly secret: string;
}

/**
 * The live secret that a presented one is; null where it is none. Every stored hash is compared, in constant time,
 * whatever the earlier comparisons gave.
 */
export function matchSecret(
  masterKey: MasterKey,
  client: ClientRecord,
  presented: string,
  now: number,
): SecretMatch | null {
  for (const secret of readings(presented)) {
    const print = printOf(secret);
    const stored = findProven(client, print, now) ?? findStored(masterKey, client, secret, now);
    if (stored === null) continue;
    proven.set(stored, print);
    return { stored, secret };
  }
  return null;
}

/**
 * What a stored secret was proven by, as a hash under a key of this process alone: an HMAC takes four times as long,
 * and a client shows the same secret over and over. Gone with the record that holds the stored one.
 */
const proven = new WeakMap<StoredSecret, Uint8Array>();
const PRINT_KEY = newSecret();

function printOf(secret: string): Uint8Array {
  return hash("sha256", PRINT_KEY + secret, "buffer");
}

function findProven(client: ClientRecord, print: Uint8Array, now: number): StoredSecret | null {
  let found: StoredSecret | null = null;
  for (const stored of client.secrets) {
    const known = proven.get(stored);
    if (known !== undefined && sameBytes(known, print) && isLive(stored, now)) found = stored;
  }
  return found;
}

function findStored(
  masterKey: MasterKey,
  client: ClientRecord,
  secret: string,
  now: number,
): StoredSecret | null {
  let found: StoredSecret | null = null;
  for (const { keyId, hash: presented } of hashesOf(masterKey, "client-secrets", secret)) {
    for (const stored of client.secrets) {
      const same = sameBytes(stored.hash, presented);
      if (same && isLive(stored, now) && keyId === stored.keyId) found = stored;
    }
  }
  return found;
}

function isLive({ expiresAt }: StoredSecret, now: number): boolean {
  return expiresAt === null || expiresAt > now;
}

/** Whether a presented secret is one of the client's live ones. */
export function secretMatches(
  masterKey: MasterKey,
  client: ClientRecord,
  presented: string,
  now: number,
): boolean {
  return matchSecret(masterKey, client, presented, now) !== null;
}

/**
 * `curl -d client_secret=a+b` and `curl -u id:a+b` send a plus sign as it is, and form-decoding (RFC 6749
 * section 2.3.1) makes it a space. Operators choose secrets with plus signs (`openssl rand -base64 32`), so a
 * space is read as a plus sign too.
 */
function readings(presented: string): string[] {
  return presented.includes(" ") ? [presented, presented.replaceAll(" ", "+")] : [presented];
}

/** What a new client is to be. */
export interface NewClient {
  readonly organizationId: string;
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  readonly projects: ProjectAccess;
  readonly grantTypes?: readonly string[];
  /** Seconds. */
  readonly tokenLifetime?: number | null;
  readonly expiresAt?: Date | null;
  /** Made up at random where absent. */
  readonly clientId?: string;
  readonly clientSecret?: string;
  /** The id of the secret's row, where the caller must find it again. */
  readonly secretId?: string;
}

/** A client that was made, with its secret: the only time that it is seen. */
export interface CreatedClient {
  readonly id: string;
  readonly clientId: string;
  readonly clientSecret: string;
}

/** Creates a client with one secret. The caller has checked what the creator may grant. */
export async function createClient(
  tx: PrismaTransaction,
  masterKey: MasterKey,
  client: NewClient,
): Promise<CreatedClient> {
  const id = newId();
  const clientId = client.clientId ?? randomBytes(16).toString("hex");
  const clientSecret = client.clientSecret ?? newSecret();
  const projectIds = client.projects === "all" ? [] : [...client.projects];
  await tx.apiClient.create({
    data: {
      id,
      clientId,
      organizationId: client.organizationId,
      name: client.name,
      // Stored by its name, the full tenant grant also covers topics that come later.
      scopes: nameScopes(client.scopes),
      grantTypes: [...(client.grantTypes ?? ["client_credentials"])],
      allProjects: client.projects === "all",
      tokenLifetime: client.tokenLifetime ?? null,
      expiresAt: client.expiresAt ?? null,
      secrets: { create: { id: client.secretId ?? newId(), ...hashedSecret(masterKey, clientSecret) } },
      projects: { create: projectIds.map((projectId) => ({ projectId })) },
    },
  });
  return { id, clientId, clientSecret };
}

/** The columns of a secret's row that stand for the secret. */
export function hashedSecret(masterKey: MasterKey, secret: string) {
  return { hash: masterKey.hash("client-secrets", secret), keyId: masterKey.id };
}
