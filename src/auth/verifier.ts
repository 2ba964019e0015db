import type { FastifyJWTOptions, TokenOrHeader } from "@fastify/jwt";
import type { FastifyRequest } from "fastify";
import { LRUCache } from "lru-cache";
import type { Clock } from "../platform/clock.js";
import { AppError } from "../platform/errors.js";
import { SIGNING_ALGORITHM, type SigningKeys } from "./keys.js";
import type { ResourceServer, ResourceServers } from "./resource-servers.js";
import { expandScopes, type Scope } from "./scopes.js";

/** An access token whose signature and claims were found good, until `expiresAt`. */
export interface VerifiedToken {
  readonly jti: string;
  readonly subject: string;
  readonly clientId: string;
  readonly organizationId: string;
  /** The client's generation when the token was issued. */
  readonly generation: number;
  /** The person that it stands for (password grant), with its generation then; null: the client itself. */
  readonly user: { readonly id: string; readonly generation: number } | null;
  /** Thumbprint of the key that its holder must prove to have (RFC 9449 section 6); null: a bearer token. */
  readonly jkt: string | null;
  readonly scopes: ReadonlySet<Scope>;
  /** What it was issued for, as it was when the token was verified. */
  readonly resourceServer: ResourceServer;
  /** Milliseconds since 1970. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** Whose credential one is that is not accepted, where that is known: the tenant can see it in its audit log. */
export interface CredentialHolder {
  readonly organizationId: string;
  readonly name: string;
}

/** Why a token is not accepted; the text goes into `error_description` (RFC 6750 section 3). */
export class InvalidTokenError extends Error {
  holder: CredentialHolder | null = null;

  constructor(description: string, options?: ErrorOptions) {
    super(description, options);
    this.name = "InvalidTokenError";
  }
}

export interface VerifierDeps {
  readonly publicUrl: string;
  readonly keys: SigningKeys;
  readonly resourceServers: ResourceServers;
  readonly clock: Clock;
}

/** How much the clocks of issuer and verifier may differ. */
const CLOCK_TOLERANCE_MS = 1_000;
const CACHE_MS = 60_000;
const CACHE_TOKENS = 20_000;
const REQUIRED = ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "org", "gen"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Reads the token of `Authorization: Bearer` (RFC 6750 section 2.1); null where the header is another or none. */
export function bearerToken(request: FastifyRequest): string | null {
  const { authorization } = request.headers;
  if (authorization === undefined || !/^bearer /i.test(authorization)) return null;
  return authorization.slice("bearer ".length).trim();
}

/**
 * Verifies access tokens (RFC 9068 section 4) through `@fastify/jwt` and remembers those that were good. What is
 * remembered is what cannot change: signature and claims. Whether the client may still use the token is another
 * question, asked on every request (`access-records.ts`).
 */
export class TokenVerifier {
  readonly #deps: VerifierDeps;
  /** The token that is to be verified for a request, which may not be the one that it is authorized by. */
  readonly #presented = new WeakMap<FastifyRequest, string>();
  readonly #cache = new LRUCache<string, { readonly token: VerifiedToken; readonly until: number }>({
    max: CACHE_TOKENS,
  });

  constructor(deps: VerifierDeps) {
    this.#deps = deps;
  }

  /** What `@fastify/jwt` is registered with. `request.jwtVerify()` without arguments keeps its verifier per key. */
  get jwtOptions(): FastifyJWTOptions {
    return {
      secret: (_request: FastifyRequest, token: TokenOrHeader) => this.#key(token),
      decode: { complete: true },
      verify: {
        // One algorithm: `none` and a public key taken for an HMAC secret are out (RFC 8725 section 3.1).
        algorithms: [SIGNING_ALGORITHM],
        checkTyp: "at+jwt",
        allowedIss: this.#deps.publicUrl,
        requiredClaims: REQUIRED,
        clockTolerance: CLOCK_TOLERANCE_MS,
        extractToken: (request: FastifyRequest) => this.#presented.get(request),
      },
    };
  }

  /** The token, where it was verified less than a minute ago and has not expired since. */
  recall(encoded: string): VerifiedToken | null {
    const known = this.#cache.get(encoded);
    if (known === undefined) return null;
    if (known.until > this.#deps.clock.now().getTime()) return known.token;
    this.#cache.delete(encoded);
    return null;
  }

  /**
   * Verifies a token that came with a request, in whichever place. Throws an `InvalidTokenError`, or `unavailable`
   * where the keys cannot be read.
   */
  async verify(request: FastifyRequest, encoded: string): Promise<VerifiedToken> {
    if (encoded === "") throw new InvalidTokenError("the access token is invalid");
    this.#presented.set(request, encoded);
    const claims = await request.jwtVerify<object>().catch((error: unknown) => {
      throw refusal(error);
    });
    const token = await this.#read(claims as Claims);
    const now = this.#deps.clock.now().getTime();
    this.#cache.set(encoded, { token, until: Math.min(token.expiresAt, now + CACHE_MS) });
    return token;
  }

  async #key(token: TokenOrHeader): Promise<string> {
    const header = "header" in token ? token.header : token;
    const pem = typeof header.kid === "string" ? await this.#pem(header.kid) : null;
    if (pem === null) throw new InvalidTokenError("the access token was signed with an unknown key");
    return pem;
  }

  async #pem(kid: string): Promise<string | null> {
    try {
      return await this.#deps.keys.publicPem(kid);
    } catch (cause) {
      throw new AppError("unavailable", "access cannot be checked at the moment", {
        details: { retryAfter: 1 },
        cause,
      });
    }
  }

  async #read(claims: Claims): Promise<VerifiedToken> {
    const organizationId = uuidOf(claims, "org");
    const found = await this.#deps.resourceServers.byAudience(textOf(claims, "aud"), organizationId);
    const resourceServer = found?.id === (claims["rs"] ?? null) ? found : null;
    if (resourceServer === null) throw new InvalidTokenError("the access token is for another audience");
    return {
      jti: textOf(claims, "jti"),
      subject: textOf(claims, "sub"),
      clientId: textOf(claims, "client_id"),
      organizationId,
      generation: integerOf(claims, "gen"),
      user: userOf(claims),
      jkt: thumbprintOf(claims),
      scopes: expandScopes(claims["scope"] === undefined ? [] : textOf(claims, "scope").split(" ")),
      resourceServer,
      issuedAt: integerOf(claims, "iat") * 1000,
      expiresAt: integerOf(claims, "exp") * 1000,
    };
  }
}

type Claims = Readonly<Record<string, unknown>>;

function textOf(claims: Claims, name: string): string {
  const value = claims[name];
  if (typeof value !== "string") throw malformed();
  return value;
}

function uuidOf(claims: Claims, name: string): string {
  const text = textOf(claims, name);
  if (!UUID.test(text)) throw malformed();
  return text;
}

function integerOf(claims: Claims, name: string): number {
  const value = claims[name];
  if (!Number.isSafeInteger(value)) throw malformed();
  return value as number;
}

/** `ugen` marks tokens of people: their `sub` is a user's id then, and a client's `client_id` otherwise. */
function userOf(claims: Claims): VerifiedToken["user"] {
  if (claims["ugen"] === undefined) return null;
  return { id: uuidOf(claims, "sub"), generation: integerOf(claims, "ugen") };
}

/** RFC 7800 section 3: a token that is bound in a way that is not understood is accepted in none. */
function thumbprintOf(claims: Claims): string | null {
  const { cnf } = claims;
  if (cnf === undefined) return null;
  if (typeof cnf !== "object" || cnf === null) throw malformed();
  return textOf(cnf as Claims, "jkt");
}

function malformed(): InvalidTokenError {
  return new InvalidTokenError("the access token is malformed");
}

function refusal(error: unknown): Error {
  if (error instanceof AppError || error instanceof InvalidTokenError) return error;
  const code = error instanceof Error && "code" in error ? error.code : null;
  const expired = code === "FST_JWT_AUTHORIZATION_TOKEN_EXPIRED";
  return new InvalidTokenError(expired ? "the access token expired" : "the access token is invalid", {
    cause: error,
  });
}
