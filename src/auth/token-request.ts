import { IncomingMessage } from "node:http";
import type { TokenParameters } from "./token-parameters.js";

/** The token endpoint's path, as the provider knows it whatever alias was called. */
export const TOKEN_PATH = "/oauth/token";

/**
 * The request that the provider sees. It is made anew of what was understood of the real one: canonical path,
 * the host of the public URL and a form body, so that neither an alias, nor a `Host` or `X-Forwarded-*` header,
 * nor a JSON body reaches the provider, and its own reading of the body serves (RFC 6749 section 4.4.2).
 */
export class TokenRequest extends IncomingMessage {
  readonly #body: Buffer;

  constructor(real: IncomingMessage, publicUrl: URL, parameters: TokenParameters) {
    super(real.socket);
    this.#body = Buffer.from(encode(parameters));
    this.method = "POST";
    this.url = TOKEN_PATH;
    this.headers = {
      host: publicUrl.host,
      "x-forwarded-proto": publicUrl.protocol.slice(0, -1),
      "content-type": "application/x-www-form-urlencoded",
      "content-length": String(this.#body.length),
    };
    const { authorization } = real.headers;
    if (authorization !== undefined) this.headers.authorization = authorization;
  }

  /** The body is here already: no stream needs to be set in motion for it. */
  override async *iterator(): AsyncIterableIterator<Buffer> {
    yield this.#body;
  }
}

/**
 * What the client asked a token for travels in a URN, since the provider takes absolute URIs only (RFC 8707)
 * while `audience` may be a short name.
 */
const RESOURCE_PREFIX = "urn:gatehouse:asked:";

export function wrapResource(identifier: string): string {
  return RESOURCE_PREFIX + encodeURIComponent(identifier);
}

/** The reverse of `wrapResource`. */
export function unwrapResource(resource: string): string {
  return decodeURIComponent(resource.slice(RESOURCE_PREFIX.length));
}

function encode({ grant_type, client_id, client_secret, scope, resource }: TokenParameters): string {
  const pairs = { grant_type, client_id, client_secret, scope, resource };
  return Object.entries(pairs)
    .flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]))
    .join("&");
}
