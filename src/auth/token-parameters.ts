import { isAscii } from "node:buffer";
import { OAuthError } from "./oauth-error.js";

/** What every endpoint for clients reads. */
const OF_CLIENTS = ["client_id", "client_secret", "client_assertion", "client_assertion_type"] as const;
const OF_GRANTS = ["grant_type", "scope", "audience", "resource"] as const;
/** RFC 6749 section 4.3.2: of the password grant alone. */
const OF_PEOPLE = ["username", "password"] as const;
/** RFC 7662 section 2.1, RFC 7009 section 2.1. */
const OF_TOKENS = ["token", "token_type_hint"] as const;

type Name =
  | (typeof OF_CLIENTS)[number]
  | (typeof OF_GRANTS)[number]
  | (typeof OF_PEOPLE)[number]
  | (typeof OF_TOKENS)[number];

/** The parameters of a request, decoded. One that was sent without a value is absent (RFC 6749 section 3.2). */
export type TokenParameters = Readonly<Partial<Record<Name, string>>>;

/** Which endpoint a request is for: one that issues tokens, or one that is told a token. */
export type Endpoint = "issuing" | "presented";

/** The parameters that mean something at an endpoint; every other is ignored (RFC 6749 section 3.2). */
const NAMES: Readonly<Record<Endpoint, readonly Name[]>> = {
  issuing: [...OF_CLIENTS, ...OF_GRANTS],
  presented: [...OF_CLIENTS, ...OF_TOKENS],
};
const WITH_PEOPLE: readonly Name[] = [...NAMES.issuing, ...OF_PEOPLE];
const KNOWN: ReadonlySet<string> = new Set([...WITH_PEOPLE, ...OF_TOKENS]);

const UTF8 = new TextDecoder("utf-8", { fatal: true });
const LONE_SURROGATE = /\p{Surrogate}/u;

function isKnown(name: string): name is Name {
  return KNOWN.has(name);
}

function namesAt(endpoint: Endpoint, grantType: unknown): readonly Name[] {
  return endpoint === "issuing" && grantType === "password" ? WITH_PEOPLE : NAMES[endpoint];
}

/** Reads an `application/x-www-form-urlencoded` body. Throws `invalid_request` where it is none. */
export function parseForm(body: Uint8Array, endpoint: Endpoint = "issuing"): TokenParameters {
  const sent: Partial<Record<Name, string>> = {};
  const repeated: Name[] = [];
  for (const pair of decodeUtf8(body).split("&")) {
    const split = pair.indexOf("=");
    const name = decodeComponent(split === -1 ? pair : pair.slice(0, split));
    if (!isKnown(name)) continue;
    if (sent[name] !== undefined) repeated.push(name);
    sent[name] = split === -1 ? "" : pair.slice(split + 1);
  }
  const found: Partial<Record<Name, string>> = {};
  for (const name of namesAt(endpoint, sent.grant_type)) {
    const value = sent[name];
    if (value === undefined) continue;
    if (repeated.includes(name)) throw invalid(`${name} must not be sent twice`);
    if (value !== "") found[name] = decodeComponent(value);
  }
  return found;
}

/** Reads a JSON body: an object whose known members are strings. Throws `invalid_request` where it is none. */
export function parseJson(body: Uint8Array, endpoint: Endpoint = "issuing"): TokenParameters {
  const value = parseObject(decodeUtf8(body));
  const grantType = Object.hasOwn(value, "grant_type") ? value["grant_type"] : undefined;
  const found: Partial<Record<Name, string>> = {};
  for (const name of namesAt(endpoint, grantType)) {
    if (!Object.hasOwn(value, name)) continue;
    const member = value[name];
    if (typeof member !== "string") throw invalid(`${name} must be a string`);
    // JSON can spell half of a character ("\ud800"); nothing that was ever stored holds one.
    if (LONE_SURROGATE.test(member)) throw invalid(`${name} must be well-formed Unicode`);
    if (member !== "") found[name] = member;
  }
  return found;
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid("the body is not valid JSON", cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid("the body must be a JSON object");
  }
  return value as Record<string, unknown>;
}

function decodeUtf8(body: Uint8Array): string {
  // Most bodies; and a decoder takes its time.
  if (isAscii(body)) return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("latin1");
  try {
    return UTF8.decode(body);
  } catch (cause) {
    throw invalid("the body is not valid UTF-8", cause);
  }
}

function decodeComponent(text: string): string {
  if (!text.includes("%") && !text.includes("+")) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch (cause) {
    throw invalid("the body is not valid form encoding of UTF-8", cause);
  }
}

function invalid(description: string, cause?: unknown): OAuthError {
  return new OAuthError("invalid_request", description, { cause });
}
