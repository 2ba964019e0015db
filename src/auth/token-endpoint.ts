import type { IncomingMessage, ServerResponse } from "node:http";
import type { SigningKeys } from "./keys.js";
import { OAuthError } from "./oauth-error.js";
import { createProvider, type ProviderDeps } from "./provider.js";
import { DEFAULT_IDENTIFIER } from "./resource-servers.js";
import type { TokenParameters } from "./token-parameters.js";
import { TokenRequest, wrapResource } from "./token-request.js";

/** Answers token requests whose body was read. */
export interface TokenEndpoint {
  /**
   * Checks what can be said without the client; throws an `OAuthError` where it is wrong.
   * @returns what answers the request on the raw response, and never throws
   */
  accept(parameters: TokenParameters, request: IncomingMessage): (response: ServerResponse) => void;
}

export interface TokenEndpointDeps extends ProviderDeps {
  readonly keys: SigningKeys;
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** The token endpoint (RFC 6749 section 3.2) over a provider that is made anew when another key signs. */
export function createTokenEndpoint(deps: TokenEndpointDeps): TokenEndpoint {
  const publicUrl = new URL(deps.publicUrl);
  let current: { readonly kid: string; readonly handle: Handler } | null = null;
  const handler = (): Handler => {
    const key = deps.keys.active;
    if (current?.kid !== key.kid) current = { kid: key.kid, handle: createProvider(deps, key).callback() };
    return current.handle;
  };
  return {
    accept(parameters, request) {
      checkPresence(parameters, request);
      const canonical = { ...parameters, resource: wrapResource(askedFor(parameters)) };
      const handle = handler();
      return (response) => handle(new TokenRequest(request, publicUrl, canonical), response);
    },
  };
}

function checkPresence({ grant_type, client_id }: TokenParameters, request: IncomingMessage): void {
  if (grant_type === undefined) throw new OAuthError("invalid_request", "grant_type is missing");
  const { authorization } = request.headers;
  if (authorization === undefined) {
    // RFC 6749 section 5.2 counts "no client authentication included" as invalid_client.
    if (client_id === undefined) throw new OAuthError("invalid_client", "no client authentication included");
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
