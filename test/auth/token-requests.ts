import type { Harness } from "./harness.js";

export const FORM = "application/x-www-form-urlencoded";
/** What the administrator's tokens say that they may do. */
export const ALL = "service production:destructive platform:admin platform:metrics";

interface Credentials {
  readonly clientId: string;
  readonly clientSecret: string;
}

/** The parameters of a token request, default the administrator's. */
export function credentials(h: Harness, client: Credentials = h.admin) {
  return {
    grant_type: "client_credentials",
    client_id: client.clientId,
    client_secret: client.clientSecret,
  };
}

/** Sends a body as it is to the token endpoint. */
export function post(
  h: Harness,
  payload: string | Buffer,
  contentType?: string,
  headers: Record<string, string> = {},
  url = "/oauth/token",
) {
  return h.app.inject({
    method: "POST",
    url,
    payload,
    headers: { ...(contentType === undefined ? {} : { "content-type": contentType }), ...headers },
  });
}

export function postJson(h: Harness, body: object, headers: Record<string, string> = {}) {
  return post(h, JSON.stringify(body), "application/json", headers);
}

/** HTTP Basic as RFC 6749 section 2.3.1 wants it: both parts form-encoded. */
export function basic(id: string, secret: string): { authorization: string } {
  const encoded = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`;
  return { authorization: `Basic ${Buffer.from(encoded).toString("base64")}` };
}

/** What a token says, unverified. */
export function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
}
