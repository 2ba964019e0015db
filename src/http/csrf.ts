import { createHmac } from "node:crypto";
import { isIP } from "node:net";
import type { FastifyRequest } from "fastify";
import { sameBytes } from "../platform/crypto.js";
import { AppError } from "../platform/errors.js";
import type { Dialect } from "./dialect.js";
import { isSafe } from "./methods.js";

/** From which origins a browser may act in the name of whoever is logged in. */
export interface OriginPolicy {
  readonly trusted: ReadonlySet<string>;
}

/** The api's own origin and those of the configuration. */
export function originPolicy(publicUrl: string, corsOrigins: readonly string[]): OriginPolicy {
  const origins = [publicUrl, ...corsOrigins].flatMap((url) =>
    URL.canParse(url) ? [new URL(url).origin] : [],
  );
  return { trusted: new Set(origins) };
}

/**
 * Whether a request may change something: by its method, or because its route needs a scope to write (one of the
 * texts cancels with GET).
 */
export function changesSomething(request: FastifyRequest): boolean {
  if (!isSafe(request.method)) return true;
  const { scopes = [] } = request.routeOptions.config;
  return scopes.some((scope) => scope.endsWith(":write"));
}

/**
 * Throws `forbidden` where a browser says that another site's page made the request. Browsers send `Origin` with
 * every request that is not GET or HEAD (https://fetch.spec.whatwg.org/#origin-header), and `Sec-Fetch-Site` with
 * all (https://www.w3.org/TR/fetch-metadata/); pages can neither leave them out nor choose them. What has neither
 * comes from no browser, and carries only cookies that its sender knew anyway.
 */
export function refuseCrossSite(policy: OriginPolicy, request: FastifyRequest): void {
  const { origin, "sec-fetch-site": site } = request.headers;
  if (origin !== undefined) {
    if (policy.trusted.has(origin) || isOwnLiteral(origin, request)) return;
    throw crossSite(`the origin ${printable(origin)} is neither PUBLIC_URL nor one of CORS_ORIGINS`);
  }
  if (site === undefined || site === "same-origin" || site === "none") return;
  throw crossSite("a page of another site made this request");
}

/**
 * The page and the api share a host that is no name but an address, or localhost: PUBLIC_URL may call it otherwise.
 * Names are not taken at their word, since whoever owns one can make it point here (DNS rebinding).
 */
function isOwnLiteral(origin: string, request: FastifyRequest): boolean {
  const { host } = request.headers;
  if (host === undefined || origin !== `${request.protocol}://${host}`) return false;
  const name = URL.canParse(origin) ? new URL(origin).hostname.replace(/^\[|\]$/g, "") : "";
  return name === "localhost" || isIP(name) !== 0;
}

/** The token that a session's page sends back, so that it shows what no other site's page can read. */
export function csrfTokenOf(sessionSecret: string): string {
  return createHmac("sha256", sessionSecret).update("gatehouse csrf token").digest("base64url");
}

/**
 * Checks a request that came with a session cookie, before it may change anything: the origin everywhere; in the
 * topics dialect also the CSRF token (contracts/topics-api.md). Throws `forbidden`.
 */
export function requireOwnPage(
  policy: OriginPolicy,
  request: FastifyRequest,
  sessionSecret: string,
  dialect: Dialect["name"] | null,
): void {
  if (!changesSomething(request)) return;
  refuseCrossSite(policy, request);
  if (dialect !== "topics") return;
  const sent = request.headers["x-csrf-token"];
  const wanted = Buffer.from(csrfTokenOf(sessionSecret));
  if (typeof sent === "string" && sameBytes(Buffer.from(sent), wanted)) return;
  throw crossSite("with a session, X-CSRF-Token must hold the csrfToken that GET /auth answers");
}

function crossSite(message: string): AppError {
  return new AppError("forbidden", message);
}

function printable(text: string): string {
  return text.slice(0, 200).replace(/[^\x21-\x7e]/g, "?");
}
