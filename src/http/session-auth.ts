import fastifyCookie, { type CookieSerializeOptions } from "@fastify/cookie";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import type { Identity, Principal } from "../auth/principal.js";
import type { LiveSession, OpenedSession, Sessions } from "../domain/people/sessions.js";
import type { AppError } from "../platform/errors.js";
import { SESSION_COOKIE } from "./credentials.js";
import { type OriginPolicy, requireOwnPage } from "./csrf.js";
import { type Dialect, routedPath } from "./dialect.js";

/** How the cookie is set. */
export interface CookieSettings {
  readonly sameSite: "lax" | "strict" | "none";
  /** Only over https. */
  readonly secure: boolean;
}

/** What browsers are told, and what is believed of them. */
export interface BrowserSettings {
  readonly cookie: CookieSettings;
  readonly origins: OriginPolicy;
}

declare module "fastify" {
  interface FastifyRequest {
    /** The session that the caller came with; null where it came with something else. Set by the guard. */
    session: LiveSession | null;
  }
}

/** Cookies, and the session of a request; registered before the guard. */
export const sessionPlugin = fp(
  async (app: FastifyInstance) => {
    // Most requests have no cookie to look for: it is parsed where somebody asks.
    await app.register(fastifyCookie, { hook: false });
    app.decorateRequest("session", null);
  },
  { name: "session", fastify: "5.x" },
);

/** What the session cookie of a request holds; null: it has none. */
export function sessionSecretOf(request: FastifyRequest): string | null {
  const { cookie } = request.headers;
  if (cookie === undefined) return null;
  return request.server.parseCookie(cookie)[SESSION_COOKIE] ?? null;
}

export interface SessionAuthDeps {
  readonly sessions: Sessions;
  readonly origins: OriginPolicy;
  /** The dialect that owns a path. */
  readonly dialectOf: (path: string) => Dialect["name"] | null;
  /** Told of requests that another site's page made in somebody's name, for the audit log. */
  readonly refused: (principal: Principal, error: AppError) => void;
}

/**
 * Authenticates by session cookie: one more of the guard's ways. Null where there is no cookie, or none of a live
 * session, or where the caller sent an `Authorization` header, which counts alone. Throws `forbidden` where another
 * site's page makes the browser send the cookie.
 */
export function sessionAuthenticator(
  deps: SessionAuthDeps,
): (request: FastifyRequest) => Promise<Identity | null> {
  return async (request) => {
    if (request.headers.authorization !== undefined) return null;
    const secret = sessionSecretOf(request);
    const session = secret === null ? null : await deps.sessions.find(secret);
    if (session === null) return null;
    try {
      requireOwnPage(deps.origins, request, session.secret, deps.dialectOf(routedPath(request)));
    } catch (error) {
      const origin = { address: request.ip, requestId: request.id };
      deps.refused({ ...session.identity, origin }, error as AppError);
      throw error;
    }
    request.session = session;
    return session.identity;
  };
}

/** Gives the browser its session. */
export function setSessionCookie(
  reply: FastifyReply,
  settings: CookieSettings,
  { secret, lifetimeMs }: OpenedSession,
): void {
  reply.setCookie(SESSION_COOKIE, secret, {
    ...attributes(settings),
    maxAge: Math.floor(lifetimeMs / 1_000),
  });
}

/** Takes the cookie from the browser. */
export function clearSessionCookie(reply: FastifyReply, settings: CookieSettings): void {
  reply.clearCookie(SESSION_COOKIE, attributes(settings));
}

function attributes({ sameSite, secure }: CookieSettings): CookieSerializeOptions {
  return { httpOnly: true, sameSite, secure, path: "/" };
}
