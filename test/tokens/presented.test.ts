import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CreatedClient } from "../../src/auth/clients.js";
import type { Scope } from "../../src/auth/scopes.js";
import { until } from "../support/until.js";
import {
  type Credentials,
  claimsOf,
  type Fleet,
  type Form,
  type Instance,
  lasts,
  openFleet,
  PROMISE_MS,
  PUBLIC_URL,
} from "./support.js";

let fleet: Fleet;
let api: Instance;
let other: Instance;
let stranger: CreatedClient;

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
  other = await fleet.open();
  stranger = (await fleet.newOrganization()).client;
});
afterAll(() => fleet.close());

const credentials = ({ clientId, clientSecret }: Credentials): Form => ({
  client_id: clientId,
  client_secret: clientSecret,
});
const introspect = (token: string, client: Credentials = fleet.admin, more: Form = {}) =>
  api.post({ token, ...credentials(client), ...more }, { url: "/oauth/introspect" });
const revoke = (token: string, client: Credentials = fleet.admin, more: Form = {}) =>
  api.post({ token, ...credentials(client), ...more }, { url: "/oauth/revoke" });
const isActive = async (token: string, client?: Credentials): Promise<unknown> =>
  (await introspect(token, client)).body["active"];
const basic = ({ clientId, clientSecret }: Credentials): string =>
  `Basic ${Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`).toString("base64")}`;

describe("introspection (RFC 7662)", () => {
  test("says of a good token what it is worth", async () => {
    const client = await fleet.newClient({ scopes: new Set<Scope>(["job:read", "run:read"]) });
    const token = await api.token(client, { audience: "service" });
    const claims = claimsOf(token);
    const { status, headers, body } = await introspect(token);
    expect(status).toBe(200);
    expect(headers).toMatchObject({
      "content-type": "application/json; charset=utf-8",
      "cache-control": "no-store",
    });
    expect(body).toEqual({
      ...{ active: true, scope: "run:read job:read", client_id: client.clientId, sub: client.clientId },
      ...{ token_type: "Bearer", iss: PUBLIC_URL, aud: "urn:gatehouse:service" },
      ...{ exp: claims["exp"], iat: claims["iat"], jti: claims["jti"] },
    });
  });

  test("takes credentials as the token endpoint does, in forms and in JSON", async () => {
    const token = await api.token(fleet.admin);
    const url = "/oauth/introspect";
    const authorization = basic(fleet.admin);
    expect((await api.post({ token }, { url, headers: { authorization } })).body["active"]).toBe(true);
    const response = await api.app.inject({
      ...{ method: "POST", url, headers: { "content-type": "application/json" } },
      payload: JSON.stringify({ token, ...credentials(fleet.admin), token_type_hint: "access_token" }),
    });
    expect(response.json()).toMatchObject({ active: true });
  });

  test.each<[string, () => Promise<string>]>([
    ["that is no token", async () => "nonsense"],
    ["that is an API key", async () => "gh_0123456789abcdef"],
    [
      "with another signature",
      async () => {
        const token = await api.token(fleet.admin);
        return `${token.slice(0, token.lastIndexOf("."))}.${"A".repeat(86)}`;
      },
    ],
    ["of another organization", () => api.token(stranger)],
  ])("says of a text %s that it is not active, and nothing else", async (_name, make) => {
    const { status, body } = await introspect(await make());
    expect([status, body]).toEqual([200, { active: false }]);
  });

  test("looks at the client as it is now: disabled, narrowed, of a disabled organization", async () => {
    const [disabled, narrowed] = [await fleet.newClient(), await fleet.newClient()];
    const tenant = await fleet.newOrganization();
    const second = await fleet.newClient({ organizationId: tenant.id });
    const tokens = {
      disabled: await api.token(disabled),
      narrowed: await api.token(narrowed),
      tenant: await api.token(tenant.client),
    };
    expect(await isActive(tokens.disabled)).toBe(true);
    expect(await isActive(tokens.tenant, second)).toBe(true);
    const data = { generation: { increment: 1 } };
    await fleet.prisma.apiClient.update({
      where: { id: disabled.id },
      data: { ...data, disabledAt: new Date() },
    });
    await fleet.prisma.apiClient.update({ where: { id: narrowed.id }, data });
    await until("both are over", async () => {
      return !(await isActive(tokens.disabled)) && !(await isActive(tokens.narrowed));
    });
    await fleet.prisma.organization.update({ where: { id: tenant.id }, data: { disabledAt: new Date() } });
    await until("401", async () => (await introspect(tokens.tenant, second)).status === 401);
  });

  test.each<[string, Form, number, string]>([
    ["without credentials", {}, 401, "invalid_client"],
    ["with an unknown client", { client_id: "nobody", client_secret: "x" }, 401, "invalid_client"],
    ["with a client alone", { client_id: "administrator" }, 401, "invalid_client"],
  ])("%s is refused as at the token endpoint", async (_name, form, status, error) => {
    const token = await api.token(fleet.admin);
    for (const url of ["/oauth/introspect", "/oauth/revoke"]) {
      const reply = await api.post({ token, ...form }, { url });
      expect([reply.status, reply.body["error"]]).toEqual([status, error]);
      expect(reply.headers["www-authenticate"]).toMatch(/^Basic /);
    }
    expect(await isActive(token)).toBe(true);
  });

  test("needs a token, and POST", async () => {
    for (const url of ["/oauth/introspect", "/oauth/revoke"]) {
      const { status, body } = await api.post(credentials(fleet.admin), { url });
      expect([status, body["error"]]).toEqual([400, "invalid_request"]);
      const twice = await api.app.inject({
        ...{ method: "POST", url, headers: { "content-type": "application/x-www-form-urlencoded" } },
        payload: `token=a&token=b&${new URLSearchParams(credentials(fleet.admin))}`,
      });
      expect([twice.statusCode, twice.json().error]).toEqual([400, "invalid_request"]);
      const get = await api.app.inject({ url: `${url}?token=x` });
      expect([get.statusCode, get.headers["allow"]]).toEqual([405, "POST"]);
    }
  });

  test("is no grant that could be asked for", async () => {
    const reply = await api.post({ ...credentials(fleet.admin), grant_type: "urn:gatehouse:errand" });
    expect([reply.status, reply.body["error"]]).toEqual([400, "unsupported_grant_type"]);
  });
});

describe("revocation (RFC 7009)", () => {
  test("of a client's own token ends it at once here and within a second elsewhere", async () => {
    const client = await fleet.newClient({ scopes: new Set<Scope>(["job:read"]) });
    const token = await api.token(client);
    for (const each of [api, other]) expect((await each.call(token)).status).toBe(200);
    const { status, text } = await revoke(token, client);
    expect([status, text]).toEqual([200, "{}"]);
    expect(await lasts(async () => (await other.call(token)).status === 200)).toBeLessThan(PROMISE_MS);
    expect((await api.call(token)).status).toBe(401);
    expect(await isActive(token)).toBe(false);
    // Others of the same client live on.
    expect((await api.call(await api.token(client))).status).toBe(200);
  });

  test("is written down, once", async () => {
    const client = await fleet.newClient();
    const token = await api.token(client);
    for (let time = 0; time < 2; time += 1) expect((await revoke(token, client)).status).toBe(200);
    const { jti } = claimsOf(token);
    const events = await fleet.database.query(
      "SELECT actor_kind, actor_id, organization_id, details FROM audit_events WHERE action = 'token.revoke' AND target_id = $1",
      [jti],
    );
    expect(events).toEqual([
      {
        ...{ actor_kind: "client", actor_id: client.id, organization_id: fleet.organizationId },
        details: { clientId: client.clientId, subject: client.clientId },
      },
    ]);
  });

  test("of another client's token needs client:write, and projects that the caller may see", async () => {
    const holder = await fleet.newClient();
    const token = await api.token(holder);
    const reader = await fleet.newClient({ scopes: new Set<Scope>(["client:read"]) });
    const local = await fleet.newClient({ projects: new Set([fleet.projectId]) });
    for (const client of [reader, local]) {
      const { status, body } = await revoke(token, client);
      expect([status, body["error"]]).toEqual([400, "unauthorized_client"]);
    }
    expect((await api.call(token)).status).toBe(200);
    const manager = await fleet.newClient({ scopes: new Set<Scope>(["client:write"]) });
    expect((await revoke(token, manager)).status).toBe(200);
    expect((await api.call(token)).status).toBe(401);
    const near = await fleet.newClient({ projects: new Set([fleet.projectId]) });
    const nearToken = await api.token(near);
    expect((await revoke(nearToken, local)).status).toBe(200);
    expect((await api.call(nearToken)).status).toBe(401);
  });

  test("of another organization's token is a 200 that does nothing", async () => {
    const token = await api.token(fleet.admin);
    expect((await revoke(token, stranger)).status).toBe(200);
    expect((await api.call(token)).status).toBe(200);
  });

  test.each(["nonsense", "a.b.c", "gh_key", "\0"])("of %j is a 200", async (token) => {
    const { status, text } = await revoke(token);
    expect([status, text]).toEqual([200, "{}"]);
  });

  test("survives a restart", async () => {
    const token = await api.token(fleet.admin);
    await revoke(token);
    const restarted = await fleet.open();
    expect((await restarted.call(token)).status).toBe(401);
    await restarted.close();
  });
});
