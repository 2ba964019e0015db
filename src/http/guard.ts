import fastifyJwt from "@fastify/jwt";
import type {
  FastifyContextConfig,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  RouteOptions,
} from "fastify";
import fp from "fastify-plugin";
import type { Principal } from "../auth/principal.js";
import { isScope, type Scope } from "../auth/scopes.js";
import type { VerifiedToken } from "../auth/verifier.js";
import { AppError } from "../platform/errors.js";
import { type CallerDeps, Callers } from "./callers.js";
import type { RequestLimit } from "./rate-limit.js";

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

export interface GuardOptions extends CallerDeps {
  /** How many requests a caller may make; absent: as many as it likes. */
  readonly limit?: RequestLimit;
}

/**
 * Guards every route (DESIGN.md section 5). A route declares `config: { scopes: [...] }` or
 * `config: { public: true }`; one that does not stops the start. Registered before any route.
 */
export const guardPlugin = fp<GuardOptions>(
  async (app: FastifyInstance, { limit, ...deps }: GuardOptions) => {
    await app.register(fastifyJwt, deps.verifier.jwtOptions);
    const callers = new Callers(deps);
    app.decorateRequest("accessToken", null);
    app.decorateRequest("authenticated", null);
    app.decorateRequest("principal", {
      getter(this: FastifyRequest) {
        if (this.authenticated !== null) return this.authenticated;
        throw new Error(`${this.routeOptions.url} has no principal: it is public`);
      },
    });
    app.addHook("onRoute", requireDeclaration);
    // What is refused counts like what is granted: who only ever asks for more is limited too.
    const refusal = (request: FastifyRequest, reply: FastifyReply, caller: Principal): Error | undefined => {
      try {
        limit?.count(caller, reply);
        return missingScope(request, reply, caller);
      } catch (error) {
        return error as Error;
      }
    };
    // With a callback: what memory can answer takes no turn of the event loop.
    app.addHook("onRequest", (request, reply, done) => {
      if (isOpen(request)) return done();
      const caller = callers.fromMemory(request);
      if (caller !== null) return done(refusal(request, reply, caller));
      callers.authenticate(request, reply).then(
        // Null: the key may be in the body, which is read after this.
        (found) => done(found === null ? undefined : refusal(request, reply, found)),
        (error: Error) => done(error),
      );
    });
    // Refusals of the guard and of the domain alike.
    app.addHook("onError", async (request, _reply, error) => {
      if (request.authenticated !== null && isRefusal(error)) noteRefusal(deps, request, error);
    });
    app.addHook("preValidation", (request, reply, done) => {
      if (request.authenticated !== null || isOpen(request)) return done();
      callers.authenticateByBody(request, reply).then(
        (found) => done(refusal(request, reply, found)),
        (error: Error) => done(error),
      );
    });
  },
  { name: "guard", fastify: "5.x" },
);

function isOpen(request: FastifyRequest): boolean {
  return request.routeOptions.config.public === true || request.is404 || request.method === "OPTIONS";
}

/**
 * Covers the HEAD routes that Fastify makes (they carry the GET route's config). OPTIONS is asked before a browser
 * sends credentials, so it cannot be guarded and answers nothing that is worth it.
 */
function requireDeclaration(route: RouteOptions): void {
  if (route.method === "OPTIONS") return;
  const methods = [route.method].flat().join(", ");
  const { scopes, public: open } = (route.config ?? {}) as FastifyContextConfig;
  if (open === true ? scopes !== undefined : !Array.isArray(scopes)) {
    throw new Error(
      `${methods} ${route.url} must declare either config.scopes (a list) or config.public (true): nobody guards it`,
    );
  }
  const unknown = (scopes ?? []).filter((scope) => !isScope(scope));
  if (unknown.length > 0)
    throw new Error(`${methods} ${route.url} names unknown scopes: ${unknown.join(", ")}`);
}

/** Nothing where the caller may call the route, else the error (RFC 6750 section 3.1). */
function missingScope(request: FastifyRequest, reply: FastifyReply, caller: Principal): AppError | undefined {
  const { scopes } = request.routeOptions.config;
  // A route from before this plugin was registered: nobody may call what declares nothing.
  if (scopes === undefined) return new AppError("internal", "the route declares no scopes");
  if (scopes.every((scope) => caller.scopes.has(scope))) return undefined;
  const scope = scopes.join(" ");
  reply.header("www-authenticate", `Bearer error="insufficient_scope", scope="${scope}"`);
  return new AppError("insufficient_scope", `the scope ${scope} is required`, { details: { scope } });
}

function isRefusal(error: Error): error is AppError {
  return error instanceof AppError && (error.code === "forbidden" || error.code === "insufficient_scope");
}

function noteRefusal({ audit }: CallerDeps, request: FastifyRequest, { message, details }: AppError): void {
  const target = { type: "route", id: `${request.method} ${request.routeOptions.url}` };
  audit.note(request.principal, {
    action: "request.denied",
    target,
    outcome: "denied",
    details: { ...details, reason: message },
  });
}
