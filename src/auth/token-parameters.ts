import { OAuthError } from "./oauth-error.js";

/** The parameters of a token request that mean something here; every other is ignored (RFC 6749 section 3.2). */
const KNOWN = ["grant_type", "client_id", "client_secret", "scope", "audience", "resource"] as const;

type Name = (typeof KNOWN)[number];

/** A token request's parameters, decoded. One that was sent without a value is absent (RFC 6749 section 3.2). */
export type TokenParameters = Readonly<Partial<Record<Name, string>>>;

const NAMES: ReadonlySet<string> = new Set(KNOWN);
const UTF8 = new TextDecoder("utf-8", { fatal: true });
const LONE_SURROGATE = /\p{Surrogate}/u;

function isKnown(name: string): name is Name {
  return NAMES.has(name);
}

/** Reads an `application/x-www-form-urlencoded` body. Throws `invalid_request` where it is none. */
export function parseForm(body: Uint8Array): TokenParameters {
  const found: Partial<Record<Name, string>> = {};
  for (const pair of decodeUtf8(body).split("&")) {
    const split = pair.indexOf("=");
    const name = decodeComponent(split === -1 ? pair : pair.slice(0, split));
    if (!isKnown(name)) continue;
    if (found[name] !== undefined) throw invalid(`${name} must not be sent twice`);
    found[name] = decodeComponent(split === -1 ? "" : pair.slice(split + 1));
  }
  return present(found);
}

/** Reads a JSON body: an object whose known members are strings. Throws `invalid_request` where it is none. */
export function parseJson(body: Uint8Array): TokenParameters {
  const value = parseObject(decodeUtf8(body));
  const found: Partial<Record<Name, string>> = {};
  for (const name of KNOWN) {
    if (!Object.hasOwn(value, name)) continue;
    const member = value[name];
    if (typeof member !== "string") throw invalid(`${name} must be a string`);
    // JSON can spell half of a character ("\ud800"); nothing that was ever stored holds one.
    if (LONE_SURROGATE.test(member)) throw invalid(`${name} must be well-formed Unicode`);
    found[name] = member;
  }
  return present(found);
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

function present(found: Partial<Record<Name, string>>): TokenParameters {
  for (const name of KNOWN) if (found[name] === "") delete found[name];
  return found;
}

function decodeUtf8(body: Uint8Array): string {
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
