import type Provider from "oidc-provider";
import { errors } from "oidc-provider";
import type { ClientRecord } from "./clients.js";
import { type Granted, Grants } from "./grants.js";
import {
  askedServer,
  type GrantContext,
  grantedClient,
  type IssuingDeps,
  issueToken,
  when,
} from "./issuing.js";
import type { ResourceServer } from "./resource-servers.js";
import type { Issue } from "./token-request.js";

const grants = new Grants();

/**
 * The client credentials grant (RFC 6749 section 4.4). Answers at once where memory can: every turn of the event
 * loop costs here, on the way of each token.
 */
export function grantToClient(
  provider: Provider,
  deps: IssuingDeps,
  ctx: GrantContext,
): void | Promise<void> {
  return when(grantedClient(deps, ctx), (client) =>
    when(askedServer(deps, ctx, client), (server) =>
      when(decide(deps, ctx, client, server), (issue) => issueToken(provider, deps, ctx, issue)),
    ),
  );
}

function decide(
  { records }: IssuingDeps,
  { oidc: { params } }: GrantContext,
  client: ClientRecord,
  server: ResourceServer,
): Issue | Promise<Issue> {
  const granted = grants.scopes(params.scope, client.scopes, server);
  if (!("refused" in granted)) return toIssue(client, server, granted);
  // The grant may just have been widened.
  return records.reload(client.clientId).then((fresh) => {
    const holder = fresh ?? client;
    return toIssue(holder, server, grants.scopes(params.scope, holder.scopes, server));
  });
}

function toIssue(client: ClientRecord, server: ResourceServer, granted: Granted): Issue {
  return { client, person: null, server, scope: scopeOf(granted) };
}

/** The scope of a token; throws `invalid_scope` where it goes beyond what is granted, or where nothing is. */
export function scopeOf(granted: Granted): string {
  if ("refused" in granted) {
    throw new errors.InvalidScope(
      "a requested scope is not granted to the client",
      granted.refused.join(" "),
    );
  }
  if (granted.scope === "") throw new errors.InvalidScope("no scope is granted to the client", "");
  return granted.scope;
}
