import type { FastifyRequest } from "fastify";
import { API_KEY_PREFIX } from "../auth/api-keys.js";

/** What a request came with to say who makes it. */
export type Credential =
  | { readonly kind: "token"; readonly value: string }
  | { readonly kind: "key"; readonly value: string }
  | { readonly kind: "session" }
  /** Nothing so far, but the body may hold a key. */
  | { readonly kind: "body" }
  | { readonly kind: "none" };

export const SESSION_COOKIE = "gatehouse_session";
const KEY_FIELD = "apiKey";
const MAX_KEY = 256;

/**
 * The request's credential: `Authorization: Bearer` (RFC 6750 section 2.1) with a token or an API key, the query
 * `?apiKey=`, the session cookie, or a field `apiKey` of a body that is still to be read. A header goes first:
 * whoever sends one means it.
 */
export function credentialOf(request: FastifyRequest): Credential {
  const { authorization, cookie } = request.headers;
  if (authorization !== undefined) {
    if (!/^bearer /i.test(authorization)) return { kind: "none" };
    const value = authorization.slice("bearer ".length).trim();
    return isApiKey(value) ? { kind: "key", value } : { kind: "token", value };
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
