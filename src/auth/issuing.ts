import Provider, { errors, type TokenEndpointGrantContext } from "oidc-provider";
import { newId } from "../platform/ids.js";
import type { Logger } from "../platform/logger.js";
import type { AccessRecords } from "./access-records.js";
import type { ClientRecord } from "./clients.js";
import { DpopError, type Proofs } from "./dpop.js";
import { SIGNING_ALGORITHM } from "./keys.js";
import type { ResourceServer, ResourceServers } from "./resource-servers.js";
import { type Issue, TOKEN_PATH, TokenRequest } from "./token-request.js";

/** What issuing tokens needs of the rest. */
export interface IssuingDeps {
  readonly records: AccessRecords;
  readonly resourceServers: ResourceServers;
  readonly proofs: Proofs;
  readonly logger: Logger;
}

/** The parameters of a grant that are read here; the provider has read those of the client. */
export interface GrantParameters {
  readonly grant_type?: string;
  readonly scope?: string;
  readonly resource?: string;
  readonly username?: string;
  readonly password?: string;
}

export type GrantContext = TokenEndpointGrantContext<GrantParameters>;

/** The request as it was made of the real one. */
export function requestOf({ req }: Pick<GrantContext, "req">): TokenRequest {
  if (!(req instanceof TokenRequest)) throw new Error("a request that was not made here");
  return req;
}

/** Goes on at once with a value, and later with what a promise brings: a turn of the event loop costs here. */
export function when<T, R>(value: T | Promise<T>, work: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(work) : work(value);
}

/** The client of a request, where it may use the request's grant type. */
export function grantedClient(
  { records }: IssuingDeps,
  { oidc: { client, params } }: GrantContext,
): ClientRecord | Promise<ClientRecord> {
  return when(records.get(client.clientId), (record) => {
    if (record?.grantTypes.includes(params.grant_type) === true) return record;
    throw new errors.UnauthorizedClient("the client may not use this grant type");
  });
}

/** What the request wants a token for. */
export function askedServer(
  { resourceServers }: IssuingDeps,
  { oidc: { params } }: GrantContext,
  { organizationId }: ClientRecord,
): ResourceServer | Promise<ResourceServer> {
  return when(resourceServers.find(params.resource ?? "", organizationId), (server) => {
    if (server === null) throw new errors.InvalidTarget("the audience is unknown");
    return server;
  });
}

/** Issues a token, bound to a key where the request proves to have one (RFC 9449 section 5), and answers it. */
export function issueToken(
  provider: Provider,
  { proofs }: IssuingDeps,
  ctx: GrantContext,
  issue: Issue,
): Promise<void> {
  const { proof } = requestOf(ctx);
  if (proof !== undefined) {
    return proofs
      .check(proof, { method: "POST", path: TOKEN_PATH })
      .catch(toProviderError)
      .then((thumbprint) => write(provider, ctx, issue, thumbprint));
  }
  if (!issue.client.dpopBound) return write(provider, ctx, issue, null);
  throw new errors.InvalidDpopProof("the client gets bound tokens alone: a DPoP proof is required");
}

function toProviderError(error: unknown): never {
  throw error instanceof DpopError ? new errors.InvalidDpopProof(error.message, { cause: error }) : error;
}

type Token = InstanceType<Provider["ClientCredentials"] | Provider["AccessToken"]>;

async function write(
  provider: Provider,
  ctx: GrantContext,
  issue: Issue,
  thumbprint: string | null,
): Promise<void> {
  const lifetime = issue.client.tokenLifetime ?? issue.server.tokenLifetime;
  const token = newToken(provider, ctx, issue, lifetime);
  if (thumbprint !== null) token.setThumbprint("jkt", thumbprint);
  requestOf(ctx).issue = issue;
  const access_token = await token.save();
  ctx.body = { access_token, token_type: token.tokenType, expires_in: lifetime, scope: issue.scope };
}

function newToken(provider: Provider, ctx: GrantContext, issue: Issue, lifetime: number): Token {
  const { person, server, scope } = issue;
  const common = {
    client: ctx.oidc.client,
    scope,
    expiresIn: lifetime,
    resourceServer: new provider.ResourceServer(server.audience, {
      audience: server.audience,
      scope,
      accessTokenFormat: "jwt",
      jwt: { sign: { alg: SIGNING_ALGORITHM } },
    }),
  };
  if (person === null) return new provider.ClientCredentials(common);
  // Whoever signs in anew has a grant of its own; nothing is stored of it.
  const accountId = person.identity.id;
  return new provider.AccessToken({ ...common, accountId, grantId: newId(), gty: "password" });
}

/**
 * Adds what the guards judge a token by, besides RFC 9068's claims. Member by member: the provider's own way to have
 * more claims, spread into its own, takes three times as long.
 */
export function addClaims(ctx: Pick<GrantContext, "req">, payload: Record<string, unknown>): void {
  const { issue } = requestOf(ctx);
  if (issue === null) throw new Error("a token that was not issued here");
  const { client, person, server } = issue;
  // Its tenant, and its client's generation.
  payload["org"] = client.organizationId;
  payload["gen"] = client.generation;
  // A registered resource server: one that takes over its name is another.
  if (server.id !== null) payload["rs"] = server.id;
  // The generation of the person that it stands for.
  if (person !== null) payload["ugen"] = person.generation;
}
