import type { Scope } from "./scopes.js";

/** The dialects (contracts/README.md) that a resource server may open. */
export type DialectName = "core" | "project" | "topics" | "runs" | "deployments";

/** What a token can be asked for: the `audience` or `resource` of a token request (RFC 8707). */
export interface ResourceServer {
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

/** Looks resource servers up; those of an organization's own are as good as absent for every other. */
export interface ResourceServers {
  /** By what a client of the organization asked for. */
  find(identifier: string, organizationId: string): Found;
  /** By the `aud` of a token of the organization. */
  byAudience(audience: string, organizationId: string): Found;
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
  return open(name, `urn:gatehouse:${name}`, tokenLifetime);
}

function open(identifier: string, audience: string, tokenLifetime: number): ResourceServer {
  return { identifier, audience, tokenLifetime, scopes: "all", dialects: "all" };
}
