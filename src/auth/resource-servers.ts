import type { Logger } from "../platform/logger.js";
import type { Sql, Statement } from "../platform/sql.js";
import { createRecordCache, type RecordCache } from "./record-cache.js";
import { expandScopes, type Scope } from "./scopes.js";

/** The dialects (contracts/README.md) that a resource server may open. */
export type DialectName = "core" | "project" | "topics" | "runs" | "deployments";

/** What a token can be asked for: the `audience` or `resource` of a token request (RFC 8707). */
export interface ResourceServer {
  /** The row of one that an organization registered, a claim of its tokens; null: built in. */
  readonly id: string | null;
  /** The name that clients ask for. */
  readonly identifier: string;
  /**
   * The token's `aud`: an absolute URI. It is the identifier itself where that is a URI, as RFC 9068 section 3
   * wants; the short names stand for a URN, which may be asked for as well.
   */
  readonly audience: string;
  /** Seconds; a client may have a lifetime of its own. */
  readonly tokenLifetime: number;
  /** What a token for it may hold at most. */
  readonly scopes: ReadonlySet<Scope> | "all";
  /** Which dialects a token for it opens. */
  readonly dialects: ReadonlySet<DialectName> | "all";
}

type Found = ResourceServer | null | Promise<ResourceServer | null>;

/**
 * Looks resource servers up, at once where memory is fresh; those of an organization's own are as good as absent
 * for every other. What is found is no older than a second; what memory does not find is asked of the database.
 */
export interface ResourceServers {
  /** By what a client of the organization asked for. */
  find(identifier: string, organizationId: string): Found;
  /** By the `aud` of a token of the organization. */
  byAudience(audience: string, organizationId: string): Found;
}

/** Resource servers that are open until they are closed. */
export interface OpenResourceServers extends ResourceServers {
  close(): void;
}

/** What a request that names no audience gets. */
export const DEFAULT_IDENTIFIER = "default";

const HOUR = 3_600;
const DAY = 86_400;

/** Those of every installation (DESIGN.md section 5): `service`, `default` and `<PUBLIC_URL>/api/`. */
export function builtInResourceServers(publicUrl: string): ResourceServers {
  const servers = [
    named("service", DAY),
    named(DEFAULT_IDENTIFIER, HOUR),
    open(`${publicUrl}/api/`, `${publicUrl}/api/`, HOUR),
  ];
  const byAudience = new Map(servers.map((server) => [server.audience, server]));
  const byName = new Map([...byAudience, ...servers.map((server) => [server.identifier, server] as const)]);
  return {
    find: (identifier) => byName.get(identifier) ?? null,
    byAudience: (audience) => byAudience.get(audience) ?? null,
  };
}

function named(name: string, tokenLifetime: number): ResourceServer {
  return open(name, `${URN}${name}`, tokenLifetime);
}

function open(identifier: string, audience: string, tokenLifetime: number): ResourceServer {
  return { id: null, identifier, audience, tokenLifetime, scopes: "all", dialects: "all" };
}

interface Row {
  readonly id: string;
  readonly organization_id: string;
  readonly identifier: string;
  readonly token_lifetime: number;
  readonly scopes: string[];
  readonly dialects: string[];
}

const FIND: Statement = {
  name: "auth_find_resource_servers",
  text: `SELECT r.id, r.organization_id, r.identifier, r.token_lifetime, r.scopes, r.dialects
         FROM resource_servers r
         JOIN unnest($1::uuid[], $2::text[]) AS wanted(organization_id, identifier) USING (organization_id, identifier)`,
};

/** The built-in ones, and those that organizations registered: from the database, held in memory for a second. */
export function openResourceServers(publicUrl: string, sql: Sql, logger: Logger): OpenResourceServers {
  const builtIn = builtInResourceServers(publicUrl);
  const registered = createRecordCache<Row, ResourceServer>({
    logger,
    read: (keys) => sql.rows<Row>(FIND, [keys.map(organizationOf), keys.map(identifierOf)]),
    idOf: (row) => keyOf(row.organization_id, row.identifier),
    toRecord,
  });
  return {
    find: (identifier, organizationId) =>
      builtIn.find(identifier, organizationId) ?? look(registered, organizationId, identifier),
    byAudience: (audience, organizationId) =>
      builtIn.byAudience(audience, organizationId) ?? look(registered, organizationId, audience),
    close: () => registered.close(),
  };
}

const URN = "urn:gatehouse:";
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
/** Nobody registered more, and text with NUL is none that a row could hold. */
const LONGEST = 2_048;

/** By the identifier, which is the audience too where it is a URI, or by the URN that a short name stands for. */
function look(registered: RecordCache<ResourceServer>, organizationId: string, asked: string): Found {
  const name = asked.startsWith(URN) ? asked.slice(URN.length) : null;
  const identifier = name !== null && NAME.test(name) ? name : asked;
  if (identifier.length > LONGEST || identifier.includes("\0")) return null;
  const key = keyOf(organizationId, identifier);
  // One that memory takes for absent may just have been registered.
  return registered.get(key) ?? registered.reload(key);
}

const UUID_LENGTH = 36;

function keyOf(organizationId: string, identifier: string): string {
  return organizationId + identifier;
}

function organizationOf(key: string): string {
  return key.slice(0, UUID_LENGTH);
}

function identifierOf(key: string): string {
  return key.slice(UUID_LENGTH);
}

function toRecord({ id, identifier, token_lifetime, scopes, dialects }: Row): ResourceServer {
  return {
    id,
    identifier,
    audience: URL.canParse(identifier) ? identifier : URN + identifier,
    tokenLifetime: token_lifetime,
    scopes: expandScopes(scopes),
    dialects: new Set(dialects as DialectName[]),
  };
}
