import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { ClientRecord } from "./clients.js";
import type { Identity } from "./principal.js";
import type { ResourceServer } from "./resource-servers.js";
import type { TokenParameters } from "./token-parameters.js";

/** The token endpoint's path, as the provider knows it whatever alias was called. */
export const TOKEN_PATH = "/oauth/token";

/**
 * The grant type under which a client is authenticated for something else than a token. Of this program alone: it
 * is never taken from a request.
 */
export const ERRAND = "urn:gatehouse:errand";

/** Somebody whose password was right, and the generation of its access then. */
export interface AuthenticatedPerson {
  readonly identity: Identity;
  readonly generation: number;
}

/** What a token is to be. */
export interface Issue {
  readonly client: ClientRecord;
  /** Whom it stands for; null: the client itself. */
  readonly person: AuthenticatedPerson | null;
  readonly server: ResourceServer;
  readonly scope: string;
}

/** Checks a name and a password; rejects with the domain's failures. */
export type PasswordCheck = (username: string, password: string) => Promise<AuthenticatedPerson>;

/** What is done for a client once it is authenticated; resolves to what is to be answered. */
export type Errand = (client: ClientRecord) => Promise<object>;

/** What goes with a request beside its parameters. */
export interface TokenRequestContext {
  /** Absent: nobody's password can be checked here. */
  readonly checkPassword?: PasswordCheck | undefined;
  /** For requests of the grant type `ERRAND`. */
  readonly errand?: Errand;
  /** Told of what a client asked for that it may not have, by the error's code. */
  readonly denied?: (clientId: string, error: string) => void;
}

/**
 * The request that the provider sees: as much of one as it and Koa look at. It is made anew of what was understood of
 * the real one: canonical path, the host of the public URL and a form body, so that neither an alias, nor a `Host` or
 * `X-Forwarded-*` header, nor a JSON body reaches the provider, and its own reading of the body serves (RFC 6749
 * section 4.4.2).
 */
export class TokenRequest {
  readonly method = "POST";
  readonly url = TOKEN_PATH;
  readonly httpVersionMajor = 1;
  readonly headers: IncomingHttpHeaders;
  readonly socket: IncomingMessage["socket"];
  /** The body can be read, as bytes. */
  readonly readable = true;
  readonly readableEncoding = null;
  readonly context: TokenRequestContext;
  /** What the token is issued by, once that is decided. */
  issue: Issue | null = null;
  /** The header `DPoP` (RFC 9449 section 5). */
  readonly proof: string | undefined;
  /** What of the public URL's path comes before ours: part of the addresses that clients know. */
  readonly baseUrl: string;
  readonly #body: Buffer;

  constructor(
    real: IncomingMessage,
    origin: PublicOrigin,
    parameters: TokenParameters,
    resource: string | null,
    context: TokenRequestContext,
  ) {
    const { authorization, dpop } = real.headers;
    this.socket = real.socket;
    this.context = context;
    this.baseUrl = origin.basePath;
    this.proof = dpop?.toString();
    this.#body = Buffer.from(encode(parameters, resource));
    this.headers = {
      host: origin.host,
      "x-forwarded-proto": origin.scheme,
      "content-type": "application/x-www-form-urlencoded",
      "content-length": String(this.#body.length),
    };
    if (authorization !== undefined) this.headers.authorization = authorization;
  }

  /** The body is here already: no stream needs to be set in motion for it. */
  iterator(): Iterable<Buffer> {
    return [this.#body];
  }
}

/** What of the public URL requests are made with. */
export interface PublicOrigin {
  readonly host: string;
  readonly scheme: string;
  /** The path without a slash at its end. */
  readonly basePath: string;
}

export function publicOrigin(publicUrl: string): PublicOrigin {
  const { host, protocol, pathname } = new URL(publicUrl);
  return { host, scheme: protocol.slice(0, -1), basePath: pathname.replace(/\/$/, "") };
}

/** `resource` in the place of both of its names. */
function encode(parameters: TokenParameters, resource: string | null): string {
  let form = resource === null ? "" : `resource=${encodeURIComponent(resource)}`;
  for (const name in parameters) {
    const value = parameters[name as keyof TokenParameters];
    if (value === undefined || name === "audience" || name === "resource") continue;
    form += `${form === "" ? "" : "&"}${name}=${encodeURIComponent(value)}`;
  }
  return form;
}
