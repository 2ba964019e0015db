import type { FastifyRequest } from "fastify";
import { API_KEY_PREFIX } from "../auth/api-keys.js";
import { DPOP_ALGORITHMS, DpopError } from "../auth/dpop.js";
import type { InvalidTokenError } from "../auth/verifier.js";

/** What a request came with to say who makes it. */
export type Credential =
  | { readonly kind: "token"; readonly value: string; readonly scheme: "Bearer" | "DPoP" }
  | { readonly kind: "key"; readonly value: string }
  | { readonly kind: "session" }
  /** Nothing so far, but the body may hold a key. */
  | { readonly kind: "body" }
  | { readonly kind: "none" };

export const SESSION_COOKIE = "gatehouse_session";
const KEY_FIELD = "apiKey";
const MAX_KEY = 256;

/**
 * The request's credential: `Authorization: Bearer` (RFC 6750 section 2.1) with a token or an API key,
 * `Authorization: DPoP` with a token that is bound to a key (RFC 9449 section 7.1), the query `?apiKey=`, the
 * session cookie, or a field `apiKey` of a body that is still to be read. A header goes first: whoever sends one
 * means it.
 */
export function credentialOf(request: FastifyRequest): Credential {
  const { authorization, cookie } = request.headers;
  if (authorization !== undefined) {
    if (/^dpop /i.test(authorization)) {
      return { kind: "token", value: authorization.slice("dpop ".length).trim(), scheme: "DPoP" };
    }
    if (!/^bearer /i.test(authorization)) return { kind: "none" };
    const value = authorization.slice("bearer ".length).trim();
    return isApiKey(value) ? { kind: "key", value } : { kind: "token", value, scheme: "Bearer" };
  }
  const fromQuery = takeKey(request.query);
  if (fromQuery !== null) return { kind: "key", value: fromQuery };
  if (cookie?.includes(`${SESSION_COOKIE}=`) === true) return { kind: "session" };
  return mayHoldKey(request) ? { kind: "body" } : { kind: "none" };
}

/** A key out of a body that was read; null where there is none. It is taken out: nothing later sees it. */
export function keyOfBody(request: FastifyRequest): string | null {
  return takeKey(request.body);
}

/**
 * The challenge for who sent nothing: no error code (RFC 6750 section 3.1), but a parameter there must be (section
 * 3).
 */
export const NO_CREDENTIAL = 'Bearer realm="gatehouse"';

/** The challenge for who sent something that is not accepted (RFC 6750 section 3, RFC 9449 section 7.1). */
export function challengeOf(credential: Credential, error: InvalidTokenError): string {
  const isDpop = error instanceof DpopError || (credential.kind === "token" && credential.scheme === "DPoP");
  const code = error instanceof DpopError ? error.code : "invalid_token";
  const described = `error="${code}", error_description="${error.message}"`;
  return isDpop ? `DPoP ${described}, algs="${DPOP_ALGORITHMS.join(" ")}"` : `Bearer ${described}`;
}

/** Anything that is no JWT counts as a key: the text's own keys are 32 hex digits. */
function isApiKey(value: string): boolean {
  return value.startsWith(API_KEY_PREFIX) || (!value.includes(".") && value.length <= MAX_KEY);
}

function takeKey(from: unknown): string | null {
  if (typeof from !== "object" || from === null || !Object.hasOwn(from, KEY_FIELD)) return null;
  const value = (from as Readonly<Record<string, unknown>>)[KEY_FIELD];
  Reflect.deleteProperty(from, KEY_FIELD);
  return typeof value === "string" && value.length <= MAX_KEY ? value : "";
}

function mayHoldKey({ method, headers }: FastifyRequest): boolean {
  if (method === "GET" || method === "HEAD") return false;
  return /^application\/(json|x-www-form-urlencoded)\b/i.test(headers["content-type"] ?? "");
}
