import fastifyJwt from "@fastify/jwt";
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from "fastify";
import fp from "fastify-plugin";
import type { AccessRecords } from "../auth/access-records.js";
import { admit, admitFresh } from "../auth/admission.js";
import type { Identity, Principal } from "../auth/principal.js";
import { isScope, type Scope } from "../auth/scopes.js";
import { bearerToken, InvalidTokenError, type TokenVerifier, type VerifiedToken } from "../auth/verifier.js";
import type { Clock } from "../platform/clock.js";
import { AppError } from "../platform/errors.js";

/** What the guard asks. */
export interface GuardOptions {
  readonly verifier: TokenVerifier;
  readonly accessRecords: AccessRecords;
  readonly clock: Clock;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** The scopes that a caller must have, all of them; an empty list: any authenticated caller. */
    scopes?: readonly Scope[];
    /** Answers everybody. */
    public?: true;
  }
  interface FastifyRequest {
    /** Who calls. Reading it on a public route is a mistake, and throws. */
    readonly principal: Principal;
    /** The token that the caller came with; null where it came with something else. */
    accessToken: VerifiedToken | null;
    /** Set by the guard; read it as `principal`. */
    authenticated: Principal | null;
  }
}

/**
 * Guards every route (DESIGN.md section 5). A route declares `config: { scopes: [...] }` or
 * `config: { public: true }`; one that does not stops the start. Registered before any route.
 */
export const guardPlugin = fp<GuardOptions>(
  async (app: FastifyInstance, options: GuardOptions) => {
    await app.register(fastifyJwt, options.verifier.jwtOptions);
    app.decorateRequest("accessToken", null);
    app.decorateRequest("authenticated", null);
    app.decorateRequest("principal", {
      getter(this: FastifyRequest) {
        if (this.authenticated === null)
          throw new Error(`${this.routeOptions.url} has no principal: it is public`);
        return this.authenticated;
      },
    });
    app.addHook("onRoute", requireDeclaration);
    // With a callback: what memory can answer takes no turn of the event loop.
    app.addHook("onRequest", (request, reply, done) => {
      const { config, method } = request.routeOptions;
      if (config.public === true || request.is404 || method === "OPTIONS") return done();
      const caller = authenticateFromMemory(options, request);
      if (caller !== null) return done(missingScope(reply, config, caller));
      authenticate(options, request, reply).then(
        (found) => done(missingScope(reply, config, found)),
        (error: Error) => done(error),
      );
    });
  },
  { name: "guard", fastify: "5.x" },
);

/**
 * Covers the HEAD routes that Fastify makes (they carry the GET route's config). OPTIONS is asked before a browser
 * sends credentials, so it cannot be guarded and answers nothing that is worth it.
 */
function requireDeclaration(route: RouteOptions): void {
  if (route.method === "OPTIONS") return;
  const methods = [route.method].flat().join(", ");
  const { scopes, public: open } = route.config ?? {};
  if (open === true ? scopes !== undefined : !Array.isArray(scopes)) {
    throw new Error(
      `${methods} ${route.url} must declare either config.scopes (a list) or config.public (true): nobody guards it`,
    );
  }
  const unknown = (scopes ?? []).filter((scope) => !isScope(scope));
  if (unknown.length > 0)
    throw new Error(`${methods} ${route.url} names unknown scopes: ${unknown.join(", ")}`);
}

/** The caller, where a token and a record of memory say so. Sets what the request knows of it. */
function authenticateFromMemory(options: GuardOptions, request: FastifyRequest): Principal | null {
  const encoded = bearerToken(request);
  const token = encoded === null ? null : options.verifier.recall(encoded);
  if (token === null) return null;
  const record = options.accessRecords.get(token.clientId);
  if (record instanceof Promise) {
    // `authenticate` asks again, and has what is under way for it; a failure is told there.
    record.catch(() => {});
    return null;
  }
  const principal = admit(token, record, options.clock.now().getTime());
  return typeof principal === "string" ? null : accept(request, token, principal);
}

async function authenticate(
  options: GuardOptions,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Principal> {
  const { verifier, accessRecords, clock } = options;
  const encoded = bearerToken(request);
  // RFC 6750 section 3.1: no error code for who sent no token; section 3: but a parameter there must be.
  if (encoded === null)
    throw unauthenticated(reply, 'Bearer realm="gatehouse"', "a bearer token is required");
  try {
    const token = verifier.recall(encoded) ?? (await verifier.verify(request, encoded));
    let principal = admit(token, await accessRecords.get(token.clientId), clock.now().getTime());
    if (principal === "behind") {
      principal = admitFresh(token, await accessRecords.reload(token.clientId), clock.now().getTime());
    }
    if (principal === "revoked") throw new InvalidTokenError("the access token was revoked");
    return accept(request, token, principal);
  } catch (error) {
    if (!(error instanceof InvalidTokenError)) throw error;
    const challenge = `Bearer error="invalid_token", error_description="${error.message}"`;
    throw unauthenticated(reply, challenge, error.message, error);
  }
}

function accept(request: FastifyRequest, token: VerifiedToken, identity: Identity): Principal {
  const principal = { ...identity, origin: { address: request.ip, requestId: request.id } };
  request.accessToken = token;
  request.authenticated = principal;
  return principal;
}

function unauthenticated(reply: FastifyReply, challenge: string, message: string, cause?: unknown): AppError {
  reply.header("www-authenticate", challenge);
  return new AppError("unauthenticated", message, { details: { challenge }, cause });
}

/** Nothing where the caller may call the route, else the error (RFC 6750 section 3.1). */
function missingScope(
  reply: FastifyReply,
  { scopes }: { readonly scopes?: readonly Scope[] },
  { scopes: held }: Principal,
): AppError | undefined {
  // A route from before this plugin was registered: nobody may call what declares nothing.
  if (scopes === undefined) return new AppError("internal", "the route declares no scopes");
  if (scopes.every((scope) => held.has(scope))) return undefined;
  const scope = scopes.join(" ");
  reply.header("www-authenticate", `Bearer error="insufficient_scope", scope="${scope}"`);
  return new AppError("insufficient_scope", `the scope ${scope} is required`, { details: { scope } });
}
