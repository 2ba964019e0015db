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
  readonly scopes: ReadonlySet<Scope>;
  /** What it was issued for; says which dialects it opens. */
  readonly resourceServer: ResourceServer;
  /** Milliseconds since 1970. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** Why a token is not accepted; the text goes into `error_description` (RFC 6750 section 3). */
export class InvalidTokenError extends Error {
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
        extractToken: (request: FastifyRequest) => bearerToken(request) ?? undefined,
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

  /** Verifies the request's token. Throws an `InvalidTokenError`, or `unavailable` where the keys cannot be read. */
  async verify(request: FastifyRequest, encoded: string): Promise<VerifiedToken> {
    const claims = await request.jwtVerify<object>().catch((error: unknown) => {
      throw refusal(error);
    });
    const token = await this.#read(claims as Readonly<Record<string, unknown>>);
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

  async #read(claims: Readonly<Record<string, unknown>>): Promise<VerifiedToken> {
    const text = (name: string): string => {
      const value = claims[name];
      if (typeof value !== "string") throw new InvalidTokenError("the access token is malformed");
      return value;
    };
    const integer = (name: string): number => {
      const value = claims[name];
      if (!Number.isSafeInteger(value)) throw new InvalidTokenError("the access token is malformed");
      return value as number;
    };
    const organizationId = text("org");
    const resourceServer = await this.#deps.resourceServers.byAudience(text("aud"), organizationId);
    if (resourceServer === null) throw new InvalidTokenError("the access token is for another audience");
    return {
      jti: text("jti"),
      subject: text("sub"),
      clientId: text("client_id"),
      organizationId,
      generation: integer("gen"),
      scopes: expandScopes(claims["scope"] === undefined ? [] : text("scope").split(" ")),
      resourceServer,
      issuedAt: integer("iat") * 1000,
      expiresAt: integer("exp") * 1000,
    };
  }
}

function refusal(error: unknown): Error {
  if (error instanceof AppError || error instanceof InvalidTokenError) return error;
  const code = error instanceof Error && "code" in error ? error.code : null;
  const expired = code === "FST_JWT_AUTHORIZATION_TOKEN_EXPIRED";
  return new InvalidTokenError(expired ? "the access token expired" : "the access token is invalid", {
    cause: error,
  });
}
