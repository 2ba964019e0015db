import type Provider from "oidc-provider";
import { errors } from "oidc-provider";
import { grantToClient } from "./client-grant.js";
import { type GrantContext, type GrantParameters, type IssuingDeps, requestOf } from "./issuing.js";
import { OAuthError } from "./oauth-error.js";
import { type DeprecationLog, grantToPerson } from "./password-grant.js";
import { ERRAND } from "./token-request.js";

/** What clients may be granted tokens for (RFC 6749). */
export const TOKEN_GRANT_TYPES = ["client_credentials", "password"] as const;

/** Every grant type that the provider has to know. */
export const GRANT_TYPES = [...TOKEN_GRANT_TYPES, ERRAND];

/** Has a provider grant what is granted here; it knows no grant of its own. */
export function registerGrants(provider: Provider, deps: IssuingDeps, deprecation: DeprecationLog): void {
  provider.registerGrantType<GrantParameters>(
    "client_credentials",
    (ctx) => grantToClient(provider, deps, ctx),
    ["scope", "resource"],
  );
  provider.registerGrantType<GrantParameters>(
    "password",
    (ctx) => grantToPerson(provider, deps, ctx, deprecation),
    ["scope", "resource", "username", "password"],
  );
  provider.registerGrantType<GrantParameters>(ERRAND, (ctx) => runErrand(deps, ctx));
}

/** Does for an authenticated client what its request is about. */
async function runErrand({ records }: IssuingDeps, ctx: GrantContext): Promise<void> {
  const { errand } = requestOf(ctx).context;
  if (errand === undefined) throw new errors.UnsupportedGrantType();
  const client = await records.get(ctx.oidc.client.clientId);
  // Deleted since it was authenticated.
  if (client === null) throw new errors.InvalidClientAuth("client not found");
  ctx.body = await errand(client).catch((error: unknown) => {
    if (!(error instanceof OAuthError)) throw error;
    throw new errors.CustomOIDCProviderError(error.code, error.message, { cause: error });
  });
}
