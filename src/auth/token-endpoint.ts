import type { IncomingMessage } from "node:http";
import { TOKEN_GRANT_TYPES } from "./grant-types.js";
import type { SigningKeys } from "./keys.js";
import { OAuthError } from "./oauth-error.js";
import { DeprecationLog } from "./password-grant.js";
import { createProvider, type ProviderDeps } from "./provider.js";
import { DEFAULT_IDENTIFIER } from "./resource-servers.js";
import type { TokenParameters } from "./token-parameters.js";
import {
  ERRAND,
  type Errand,
  publicOrigin,
  TokenRequest,
  type TokenRequestContext,
} from "./token-request.js";
import { type TokenAnswer, TokenResponse } from "./token-response.js";

/** Finds out what a request is answered and tells it, once; never throws. */
export type Answer = (answered: (answer: TokenAnswer) => void) => void;

/** Answers requests of clients whose body was read. */
export interface TokenEndpoint {
  /** A token request. Checks what can be said without the client; throws an `OAuthError` where it is wrong. */
  accept(parameters: TokenParameters, request: IncomingMessage, context?: TokenRequestContext): Answer;
  /**
   * A request of another endpoint, whose clients authenticate as at this one (RFC 7662 section 2.1, RFC 7009
   * section 2.1). Throws as `accept` does.
   */
  authenticate(parameters: TokenParameters, request: IncomingMessage, errand: Errand): Answer;
}

export interface TokenEndpointDeps extends Omit<ProviderDeps, "deprecation"> {
  readonly keys: SigningKeys;
}

type Handler = (request: TokenRequest, response: TokenResponse) => void;

/** The token endpoint (RFC 6749 section 3.2) over a provider that is made anew when another key signs. */
export function createTokenEndpoint(deps: TokenEndpointDeps): TokenEndpoint {
  const origin = publicOrigin(deps.publicUrl);
  const providerDeps = { ...deps, deprecation: new DeprecationLog(deps.logger) };
  let current: { readonly kid: string; readonly handle: Handler } | null = null;
  const handler = (): Handler => {
    const key = deps.keys.active;
    if (current?.kid !== key.kid) {
      const handle = createProvider(providerDeps, key).callback();
      // Both are as much of the real ones as is looked at.
      current = { kid: key.kid, handle: handle as unknown as Handler };
    }
    return current.handle;
  };
  const answer = (request: TokenRequest): Answer => {
    const handle = handler();
    return (answered) => handle(request, new TokenResponse(answered));
  };
  return {
    accept(parameters, request, context = {}) {
      checkGrant(parameters);
      checkClient(parameters, request);
      return answer(new TokenRequest(request, origin, parameters, askedFor(parameters), context));
    },
    authenticate({ client_id, client_secret, client_assertion, client_assertion_type }, request, errand) {
      const client = { client_id, client_secret, client_assertion, client_assertion_type };
      const parameters = { ...present(client), grant_type: ERRAND };
      checkClient(parameters, request);
      return answer(new TokenRequest(request, origin, parameters, null, { errand }));
    },
  };
}

const GRANTED: ReadonlySet<string> = new Set(TOKEN_GRANT_TYPES);

function checkGrant({ grant_type }: TokenParameters): void {
  if (grant_type === undefined) throw new OAuthError("invalid_request", "grant_type is missing");
  // The provider knows more of them than are to be had.
  if (!GRANTED.has(grant_type)) {
    throw new OAuthError("unsupported_grant_type", "unsupported grant_type requested");
  }
}

function checkClient({ client_id, client_assertion }: TokenParameters, request: IncomingMessage): void {
  const { authorization } = request.headers;
  if (authorization === undefined) {
    // RFC 7521 section 4.2: with an assertion the client_id may be left out.
    if (client_id !== undefined || client_assertion !== undefined) return;
    // RFC 6749 section 5.2 counts "no client authentication included" as invalid_client.
    throw new OAuthError("invalid_client", "no client authentication included");
  } else if (!/^basic /i.test(authorization)) {
    throw new OAuthError("invalid_client", "the Authorization header must use the Basic scheme");
  }
}

/** `audience` (as many authorization servers call it) and `resource` (RFC 8707 section 2) mean the same here. */
function askedFor({ audience, resource }: TokenParameters): string {
  if (audience !== undefined && resource !== undefined && audience !== resource) {
    throw new OAuthError("invalid_target", "audience and resource differ");
  }
  return audience ?? resource ?? DEFAULT_IDENTIFIER;
}

function present(parameters: Readonly<Record<string, string | undefined>>): TokenParameters {
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
}
