import Provider, { type Configuration, type errors, type KoaContextWithOIDC } from "oidc-provider";
import { AppError, databaseAway } from "../platform/errors.js";
import { isDatabaseAway } from "../platform/sql.js";
import { createAdapterFactory, rememberClients } from "./adapter.js";
import {
  authenticateClients,
  type ClientAuthenticationDeps,
  clientAuthentication,
} from "./client-authentication.js";
import { GRANT_TYPES, registerGrants } from "./grant-types.js";
import { addClaims, type IssuingDeps } from "./issuing.js";
import { type ActiveKey, SIGNING_ALGORITHM } from "./keys.js";
import type { DeprecationLog } from "./password-grant.js";
import { BatchSigningKey } from "./signer.js";
import { TOKEN_PATH, TokenRequest } from "./token-request.js";
import { TokenResponse } from "./token-response.js";

/** What issuing tokens needs of the rest. */
export interface ProviderDeps extends ClientAuthenticationDeps, IssuingDeps {
  /** The issuer: `iss` of every token, whatever host a request came to. */
  readonly publicUrl: string;
  readonly deprecation: DeprecationLog;
}

/**
 * The authorization server for one signing key: it authenticates clients, reads and answers their requests, and
 * makes JWT access tokens (RFC 9068). What it issues is decided in `issuing.ts`. Only its token endpoint is reached
 * (`token-endpoint.ts`).
 */
export function createProvider(deps: ProviderDeps, key: ActiveKey): Provider {
  const provider = new Provider(deps.publicUrl, configuration(deps, key));
  // Requests are made by `TokenRequest` alone: what it says of host and scheme is the public URL's.
  provider.proxy = true;
  // Koa's own way of reporting is the console.
  provider.silent = true;
  provider.on("server_error", (ctx, err) => answerFailure(deps, ctx, err));
  provider.on("grant.error", tellDenied);
  releaseContexts(provider);
  rememberClients(provider, deps.records, deps.clock);
  authenticateClients(provider, deps);
  registerGrants(provider, deps, deps.deprecation);
  return provider;
}

function configuration(deps: ProviderDeps, key: ActiveKey): Configuration {
  return {
    ...clientAuthentication(deps),
    adapter: createAdapterFactory(deps.records, deps.clock),
    jwks: { keys: [new BatchSigningKey(key)] },
    clientDefaults: {
      // Which of them a client may use is decided where tokens are issued.
      grant_types: [...GRANT_TYPES],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: SIGNING_ALGORITHM,
      token_endpoint_auth_method: "client_secret_basic",
    },
    features: {
      externalSigningSupport: { enabled: true, ack: "experimental-01" },
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      // Issuing sees to both, for all grants alike.
      dPoP: { enabled: false },
      resourceIndicators: { enabled: false },
    },
    routes: { token: TOKEN_PATH },
    responseTypes: [],
    formats: { customizers: { jwt: (ctx, _token, { payload }) => addClaims(ctx, payload) } },
  };
}

/**
 * Empties a request's context once it is answered. The provider defines an accessor on each, which V8 keeps among old
 * objects with the context and all that hangs on it, our request and its connection included: collecting only young
 * objects, it would copy them all, and be rid of them at the next full collection alone. Measured, that was a tenth of
 * what a token costs.
 */
function releaseContexts(provider: Provider): void {
  const create = provider.createContext.bind(provider);
  provider.createContext = ((req, res) => {
    const context = create(req, res);
    if (res instanceof TokenResponse) {
      res.ended = () => Object.assign(context, { req: null, res: null, request: null, response: null });
    }
    return context;
  }) as typeof create;
}

/** Errors by which a client that has authenticated is told that it may not have what it asks for. */
const DENIALS: ReadonlySet<string> = new Set([
  "invalid_scope",
  "invalid_target",
  "unauthorized_client",
  "invalid_dpop_proof",
]);

function tellDenied({ req, oidc }: KoaContextWithOIDC, { error }: errors.OIDCProviderError): void {
  const clientId = oidc.client?.clientId;
  if (req instanceof TokenRequest && clientId !== undefined && DENIALS.has(error)) {
    req.context.denied?.(clientId, error);
  }
}

/** Failures of the domain that are no fault of the request, by the status that tells them. */
const STATUS: Readonly<Record<string, number>> = { unavailable: 503, rate_limited: 429 };

/**
 * The provider has answered `server_error` with 500; a database that cannot be asked, and a limit that is used up,
 * are said as what they are.
 */
function answerFailure({ logger }: ProviderDeps, ctx: KoaContextWithOIDC, err: Error): void {
  const known = isDatabaseAway(err) ? databaseAway(err) : err;
  const status = known instanceof AppError ? STATUS[known.code] : undefined;
  if (!(known instanceof AppError) || status === undefined) {
    logger.error({ err }, "a token request failed");
    return;
  }
  if (status === 503) logger.warn({ err }, "a token request could not be answered");
  ctx.status = status;
  ctx.set("Retry-After", String(known.details["retryAfter"] ?? 1));
  ctx.body = { error: "temporarily_unavailable", error_description: known.message };
}
