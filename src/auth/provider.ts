import { createPublicKey, type KeyObject, sign } from "node:crypto";
import Provider, {
  type Configuration,
  ExternalSigningKey,
  errors,
  type KoaContextWithOIDC,
  type ResourceServer as ResourceServerInfo,
} from "oidc-provider";
import type { Clock } from "../platform/clock.js";
import type { MasterKey } from "../platform/crypto.js";
import { AppError } from "../platform/errors.js";
import type { Logger } from "../platform/logger.js";
import type { AccessRecords } from "./access-records.js";
import { createAdapterFactory } from "./adapter.js";
import { type ClientRecord, secretMatches } from "./clients.js";
import { type Granted, Grants } from "./grants.js";
import { type ActiveKey, SIGNING_ALGORITHM } from "./keys.js";
import { DEFAULT_IDENTIFIER, type ResourceServer, type ResourceServers } from "./resource-servers.js";
import { TOKEN_PATH, unwrapResource, wrapResource } from "./token-request.js";

/** What issuing tokens needs of the rest. */
export interface ProviderDeps {
  /** The issuer: `iss` of every token, whatever host a request came to. */
  readonly publicUrl: string;
  readonly records: AccessRecords;
  readonly resourceServers: ResourceServers;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * The authorization server for one signing key: client_credentials (RFC 6749 section 4.4) and JWT access tokens
 * (RFC 9068). Only its token endpoint is reached (`token-endpoint.ts`).
 */
export function createProvider(deps: ProviderDeps, key: ActiveKey): Provider {
  const provider = new Provider(deps.publicUrl, configuration(deps, key));
  // Requests are made by `TokenRequest` alone: what it says of host and scheme is the public URL's.
  provider.proxy = true;
  // Koa's own way of reporting is the console.
  provider.silent = true;
  provider.on("server_error", (ctx, err) => answerFailure(deps.logger, ctx, err));
  provider.use(finishResponse());
  provider.Client.prototype.compareClientSecret = function compare(presented: string) {
    return authenticate(deps, this.clientId, presented);
  };
  return provider;
}

function configuration(deps: ProviderDeps, key: ActiveKey): Configuration {
  return {
    adapter: createAdapterFactory(deps.records, deps.clock),
    jwks: { keys: [new SynchronousKey(key)] },
    clientAuthMethods: ["client_secret_basic", "client_secret_post"],
    clientDefaults: {
      grant_types: ["client_credentials"],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: SIGNING_ALGORITHM,
      token_endpoint_auth_method: "client_secret_basic",
    },
    features: {
      clientCredentials: { enabled: true },
      externalSigningSupport: { enabled: true, ack: "experimental-01" },
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      dPoP: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => wrapResource(DEFAULT_IDENTIFIER),
        getResourceServerInfo: (ctx, resource) => decide(deps, ctx, unwrapResource(resource)),
      },
    },
    routes: { token: TOKEN_PATH },
    responseTypes: [],
    ttl: {
      ClientCredentials: (_ctx, token) => {
        const lifetime = token.resourceServer?.accessTokenTTL;
        if (lifetime === undefined) throw new Error("a token without a resource server");
        return lifetime;
      },
    },
    extraTokenClaims: privateClaims,
  };
}

const grants = new Grants();

/** The record that a request's token is issued by, from the decision to the claims. */
const issuedTo = new WeakMap<KoaContextWithOIDC, ClientRecord>();

/**
 * Signs on the spot with node:crypto. An ES256 signature takes 30 µs; the provider's own way, WebCrypto, spends as
 * much again on carrying it to another thread and back.
 */
class SynchronousKey extends ExternalSigningKey {
  readonly #key: ActiveKey;
  readonly #public: KeyObject;

  constructor(key: ActiveKey) {
    super();
    this.#key = key;
    this.#public = createPublicKey(key.privateKey);
  }

  override get kid(): string {
    return this.#key.kid;
  }

  override get alg(): string {
    return SIGNING_ALGORITHM;
  }

  override keyObject(): KeyObject {
    return this.#public;
  }

  override sign(data: Uint8Array): Uint8Array {
    // RFC 7518 section 3.4: both halves of the signature side by side, not in DER.
    return sign("sha256", data, { key: this.#key.privateKey, dsaEncoding: "ieee-p1363" });
  }
}

/** Compares with what memory holds and, where that fails, with the database: a secret may just have been added. */
function authenticate(deps: ProviderDeps, clientId: string, presented: string): boolean | Promise<boolean> {
  const known = deps.records.get(clientId);
  if (!(known instanceof Promise) && matches(deps, known, presented)) return true;
  const fresh = known instanceof Promise ? known : deps.records.reload(clientId);
  return fresh.then((client) => matches(deps, client, presented));
}

function matches(
  { masterKey, clock }: ProviderDeps,
  client: ClientRecord | null,
  presented: string,
): boolean {
  return client !== null && secretMatches(masterKey, client, presented, clock.now().getTime());
}

/**
 * What the request comes to, now that the client is authenticated: its grant type, audience and scope. Answers at
 * once where memory can: every turn of the event loop costs here, on the way of each token.
 */
function decide(
  deps: ProviderDeps,
  ctx: KoaContextWithOIDC,
  identifier: string,
): ResourceServerInfo | Promise<ResourceServerInfo> {
  const { client, params } = ctx.oidc;
  if (client === undefined || params === undefined) throw new Error("called before authentication");
  return when(deps.records.get(client.clientId), (record) => {
    if (record?.grantTypes.includes(String(params["grant_type"])) !== true) {
      throw new errors.UnauthorizedClient("the client may not use this grant type");
    }
    return when(deps.resourceServers.find(identifier, record.organizationId), (server) => {
      if (server === null) throw new errors.InvalidTarget("the audience is unknown");
      return grant(deps, ctx, record, server);
    });
  });
}

function grant(
  { records }: ProviderDeps,
  ctx: KoaContextWithOIDC,
  client: ClientRecord,
  server: ResourceServer,
): ResourceServerInfo | Promise<ResourceServerInfo> {
  const asked = typeof ctx.oidc.params?.["scope"] === "string" ? ctx.oidc.params["scope"] : undefined;
  const granted = grants.scopes(asked, client.scopes, server);
  if (!("refused" in granted)) return issue(ctx, client, server, granted);
  // The grant may just have been widened.
  return records.reload(client.clientId).then((fresh) => {
    const holder = fresh ?? client;
    return issue(ctx, holder, server, grants.scopes(asked, holder.scopes, server));
  });
}

function issue(
  ctx: KoaContextWithOIDC,
  client: ClientRecord,
  server: ResourceServer,
  granted: Granted,
): ResourceServerInfo {
  if ("refused" in granted) {
    const refused = granted.refused.join(" ");
    throw new errors.InvalidScope("a requested scope is not granted to the client", refused);
  }
  const { scope } = granted;
  if (scope === "") throw new errors.InvalidScope("no scope is granted to the client", "");
  // The provider reads the scope here once more.
  if (ctx.oidc.params !== undefined) ctx.oidc.params["scope"] = scope;
  issuedTo.set(ctx, client);
  return {
    audience: server.audience,
    scope,
    accessTokenTTL: client.tokenLifetime ?? server.tokenLifetime,
    accessTokenFormat: "jwt",
    jwt: { sign: { alg: SIGNING_ALGORITHM } },
  };
}

/** Goes on at once with a value, and later with what a promise brings. */
function when<T, R>(value: T | Promise<T>, work: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(work) : work(value);
}

/** What the guards judge the token by, besides RFC 9068's claims: its tenant and its client's generation. */
function privateClaims(ctx: KoaContextWithOIDC) {
  const client = issuedTo.get(ctx);
  if (client === undefined) throw new Error("a token without a client");
  return { org: client.organizationId, gen: client.generation };
}

/**
 * Adds to the provider's answer what it leaves out, and takes out what is not its business: who may read it from
 * a browser is decided once, by @fastify/cors.
 */
function finishResponse() {
  const challenge = 'Basic realm="gatehouse", charset="UTF-8"';
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    const { origin, exposed } = {
      origin: "Access-Control-Allow-Origin",
      exposed: "Access-Control-Expose-Headers",
    };
    const decided = Boolean(ctx.response.get(origin));
    await next();
    if (!decided) {
      ctx.remove(origin);
      ctx.remove(exposed);
    }
    // RFC 6749 section 5.2: with 401 goes the scheme that would do.
    if (ctx.status === 401 && !ctx.response.get("WWW-Authenticate")) ctx.set("WWW-Authenticate", challenge);
  };
}

/** The provider has answered `server_error` with 500; a database that cannot be asked is said as what it is. */
function answerFailure(logger: Logger, ctx: KoaContextWithOIDC, err: Error): void {
  logger.error({ err }, "a token request failed");
  if (!(err instanceof AppError) || err.code !== "unavailable") return;
  ctx.status = 503;
  ctx.set("Retry-After", "1");
  ctx.body = { error: "temporarily_unavailable", error_description: err.message };
}
