import { expect } from "vitest";
import type { Scope } from "../../../src/auth/scopes.js";
import type { Answer, Credentials, Installation } from "../../support/installation.js";
import { until } from "../../support/until.js";

/** An API client as the core API shows it. */
export interface ClientAnswer {
  readonly id: string;
  readonly clientId: string;
  readonly clientSecret: string | null;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly allProjects: boolean;
  readonly projects: readonly string[];
  readonly disabled: boolean;
  readonly expiresAt: string | null;
  readonly secrets: readonly { readonly id: string; readonly expiresAt: string | null }[];
}

/** Faults as the core API shows them. */
export interface ProblemAnswer {
  readonly code: string;
  readonly detail: string;
  readonly scope?: string;
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** Requests of one caller. */
export type Caller = <T = ProblemAnswer>(method: Method, url: string, body?: unknown) => Promise<Answer<T>>;

/** Requests with the token of a client that may do just this. */
export async function callerWith(
  gatehouse: Installation,
  options: { scopes?: readonly Scope[]; projects?: readonly string[]; organization?: string },
): Promise<Caller> {
  return callerOf(gatehouse, await gatehouse.createClient(options));
}

/** Requests with the token of a client; null: without any; undefined: the administrator's. */
export async function callerOf(gatehouse: Installation, client?: Credentials | null): Promise<Caller> {
  const token = client === null ? null : await gatehouse.token(client);
  return (method, url, body) =>
    gatehouse.call(method, url, { token, ...(body === undefined ? {} : { body }) });
}

/** Requests whose bodies are forms. */
export async function formCaller(gatehouse: Installation): Promise<Caller> {
  const token = await gatehouse.token();
  return (method, url, body) =>
    gatehouse.call(method, url, {
      token,
      raw: new URLSearchParams(body as Record<string, string>).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
}

/** What the token endpoint answers to a client and a secret. */
export async function askToken(
  gatehouse: Installation,
  client: { clientId: string; clientSecret: string | null },
) {
  return gatehouse.call<{ access_token?: string; error?: string }>("POST", "/oauth/token", {
    token: null,
    body: {
      grant_type: "client_credentials",
      client_id: client.clientId,
      client_secret: client.clientSecret,
    },
  });
}

/** Asks for tokens until the answer is this: a change reaches every process within a second. */
export function untilToken(
  gatehouse: Installation,
  client: { clientId: string; clientSecret: string | null },
  status: number,
): Promise<true> {
  return until(
    `a token request answers ${status}`,
    async () => (await askToken(gatehouse, client)).status === status,
  );
}

/** Sends a request until it is refused as one with a token that counts no more. */
export function untilRefused(gatehouse: Installation, token: string): Promise<true> {
  return until("the token is refused", async () => {
    const { status } = await gatehouse.call("GET", "/api/v1/clients", { token });
    return status === 401;
  });
}

interface AuditRow {
  readonly actor_name: string;
  readonly action: string;
  readonly target_id: string;
  readonly outcome: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** What the audit log holds of a thing, in its order. */
export async function auditOf(gatehouse: Installation, targetId: string): Promise<AuditRow[]> {
  return gatehouse.database.query<AuditRow>(
    "SELECT actor_name, action, target_id, outcome, details FROM audit_events WHERE target_id = $1 ORDER BY id",
    [targetId],
  );
}

/** The status, or what the answer said instead. */
export function statusOf({ status, text }: Answer<unknown>, wanted: number): void {
  expect(status, text).toBe(wanted);
}

export async function generationOf(gatehouse: Installation, table: "api_clients" | "users", id: string) {
  const [row] = await gatehouse.database.query<{ generation: number }>(
    `SELECT generation FROM ${table} WHERE id = $1`,
    [id],
  );
  return row?.generation;
}
