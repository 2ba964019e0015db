import { IncomingMessage } from "node:http";
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
 * The request that the provider sees. It is made anew of what was understood of the real one: canonical path,
 * the host of the public URL and a form body, so that neither an alias, nor a `Host` or `X-Forwarded-*` header,
 * nor a JSON body reaches the provider, and its own reading of the body serves (RFC 6749 section 4.4.2).
 */
export class TokenRequest extends IncomingMessage {
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
    publicUrl: URL,
    parameters: TokenParameters,
    resource: string | null,
    context: TokenRequestContext,
  ) {
    super(real.socket);
    this.context = context;
    this.baseUrl = publicUrl.pathname.replace(/\/$/, "");
    const { authorization, dpop } = real.headers;
    this.proof = dpop?.toString();
    this.#body = Buffer.from(encode(parameters, resource));
    this.method = "POST";
    this.url = TOKEN_PATH;
    this.headers = {
      host: publicUrl.host,
      "x-forwarded-proto": publicUrl.protocol.slice(0, -1),
      "content-type": "application/x-www-form-urlencoded",
      "content-length": String(this.#body.length),
    };
    if (authorization !== undefined) this.headers.authorization = authorization;
  }

  /** The body is here already: no stream needs to be set in motion for it. */
  override async *iterator(): AsyncIterableIterator<Buffer> {
    yield this.#body;
  }
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
