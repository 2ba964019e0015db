import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CreatedClient } from "../../src/auth/clients.js";
import type { Scope } from "../../src/auth/scopes.js";
import { ATTEMPT_LIMITS } from "../../src/domain/people/attempts.js";
import { newId } from "../../src/platform/ids.js";
import { newKeyPair, proof, thumbprint, tokenProof } from "./proofs.js";
import {
  claimsOf,
  type Fleet,
  type Form,
  type Instance,
  openFleet,
  PASSWORD,
  type Reply,
} from "./support.js";

let fleet: Fleet;
let api: Instance;
let client: CreatedClient;

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
  client = await newPasswordClient();
});
afterAll(() => fleet.close());

type Change = Parameters<Fleet["newClient"]>[0];
const newPasswordClient = (change: Change = {}): Promise<CreatedClient> =>
  fleet.newClient({ grantTypes: ["client_credentials", "password"], ...change });

const ask = (username: string, password = PASSWORD, more: Form = {}, by = client): Promise<Reply> =>
  api.post({
    ...{ grant_type: "password", username, password },
    ...{ client_id: by.clientId, client_secret: by.clientSecret },
    ...more,
  });
const tokenOf = async (username: string, more: Form = {}, by = client): Promise<string> =>
  String((await ask(username, PASSWORD, more, by)).body["access_token"]);

describe("the password grant (RFC 6749 section 4.3)", () => {
  test("takes a user name and an e-mail address, and gives a token that stands for the person", async () => {
    const user = await fleet.newUser();
    for (const name of [user.username, user.email, user.email.toUpperCase()]) {
      const { status, headers, body } = await ask(name);
      expect(status).toBe(200);
      expect(headers["cache-control"]).toBe("no-store");
      expect(body).toEqual({
        ...{ token_type: "Bearer", expires_in: 3_600, scope: "service" },
        access_token: expect.any(String),
      });
      const token = String(body["access_token"]);
      expect(claimsOf(token)).toMatchObject({
        ...{ sub: user.id, client_id: client.clientId, org: fleet.organizationId, gen: 1, ugen: 1 },
      });
      expect((await api.call(token)).body).toMatchObject({
        ...{ kind: "user", id: user.id, name: user.username, projects: "all" },
      });
    }
  });

  test("works as the text of the runs API shows it, once its audience is registered", async () => {
    const audience = "https://snowplowanalytics.com/api/";
    const user = await fleet.newUser();
    const form =
      `grant_type=password&username=${user.email}&password=${encodeURIComponent(PASSWORD)}` +
      `&audience=${audience}&client_id=${client.clientId}&client_secret=${client.clientSecret}`;
    const json = JSON.stringify({
      ...{ client_id: client.clientId, client_secret: client.clientSecret, audience },
      ...{ grant_type: "password", username: user.email, password: PASSWORD },
    });
    const requests = [
      { payload: form, headers: { "content-type": "application/x-www-form-urlencoded" } },
      { payload: json, headers: { "content-type": "application/json" } },
    ];
    const send = (each: object) => api.app.inject({ method: "POST", url: "/oauth/token", ...each });
    for (const each of requests) expect((await send(each)).json().error).toBe("invalid_target");
    await fleet.prisma.resourceServer.create({
      data: {
        ...{ id: newId(), organizationId: fleet.organizationId, identifier: audience, name: "the text's" },
        ...{ tokenLifetime: 600, scopes: ["service"], dialects: ["core", "runs"], createdBy: "a test" },
      },
    });
    for (const each of requests) {
      const response = await send(each);
      expect([response.statusCode, response.json().expires_in]).toEqual([200, 600]);
      expect((await api.call(response.json().access_token)).status).toBe(200);
    }
  });

  test("gives the scopes that the client and the person have in common", async () => {
    const viewer = await fleet.newUser({ role: "viewer" });
    const operator = await newPasswordClient({
      scopes: new Set<Scope>(["job:read", "job:write", "run:read"]),
    });
    const { body } = await ask(viewer.username, PASSWORD, {}, operator);
    expect(body["scope"]).toBe("run:read job:read");
    const beyond = await ask(viewer.username, PASSWORD, { scope: "job:write" }, operator);
    expect([beyond.status, beyond.body["error"]]).toEqual([400, "invalid_scope"]);
    const subset = await ask(viewer.username, PASSWORD, { scope: "job:read" }, operator);
    expect(subset.body["scope"]).toBe("job:read");
    const nothing = await newPasswordClient({ scopes: new Set<Scope>(["client:read"]) });
    expect((await ask(viewer.username, PASSWORD, {}, nothing)).body["error"]).toBe("invalid_scope");
  });

  test("gives the projects that both reach", async () => {
    const make = async (): Promise<string> => {
      const id = newId();
      const { organizationId } = fleet;
      return (await fleet.prisma.project.create({ data: { id, organizationId, slug: id, name: id } })).id;
    };
    const [a, b, c] = [await make(), await make(), await make()];
    const user = await fleet.newUser({ role: "admin", projects: [a, b] });
    const limited = await newPasswordClient({ projects: new Set([b, c]) });
    expect((await api.call(await tokenOf(user.username, {}, limited))).body["projects"]).toEqual([b]);
    expect((await api.call(await tokenOf(user.username))).body["projects"]).toEqual([a, b].sort());
    const everybody = await fleet.newUser();
    expect((await api.call(await tokenOf(everybody.username, {}, limited))).body["projects"]).toEqual(
      [b, c].sort(),
    );
  });

  test("can be bound to a key", async () => {
    const { username } = await fleet.newUser();
    const pair = newKeyPair();
    const { body } = await api.post(
      {
        ...{ grant_type: "password", username, password: PASSWORD },
        ...{ client_id: client.clientId, client_secret: client.clientSecret },
      },
      { headers: { dpop: await tokenProof(pair) } },
    );
    const token = String(body["access_token"]);
    expect(claimsOf(token)["cnf"]).toEqual({ jkt: await thumbprint(pair) });
    const headers = { authorization: `DPoP ${token}`, dpop: await proof(pair, { accessToken: token }) };
    expect((await api.call(token, { headers })).body["kind"]).toBe("user");
  });

  test("is for clients that are allowed it", async () => {
    const { username } = await fleet.newUser();
    const { status, body } = await ask(username, PASSWORD, {}, await fleet.newClient());
    expect([status, body["error"]]).toEqual([400, "unauthorized_client"]);
    const only = await fleet.newClient({ grantTypes: ["password"] });
    expect((await ask(username, PASSWORD, {}, only)).status).toBe(200);
    await expect(api.token(only)).rejects.toThrow("unauthorized_client");
  });

  test("is said to be deprecated, once per client", async () => {
    const { username } = await fleet.newUser();
    const fresh = await newPasswordClient();
    await ask(username, PASSWORD, {}, fresh);
    await ask(username, PASSWORD, {}, fresh);
    expect(
      api.log.filter((line) => line.includes(fresh.clientId) && line.includes("deprecated")),
    ).toHaveLength(1);
  });

  test("shows the person in introspection", async () => {
    const user = await fleet.newUser({ role: "viewer" });
    const token = await tokenOf(user.username);
    const { body } = await api.post(
      { token, client_id: client.clientId, client_secret: client.clientSecret },
      { url: "/oauth/introspect" },
    );
    expect(body).toMatchObject({
      active: true,
      sub: user.id,
      username: user.username,
      client_id: client.clientId,
    });
  });
});

describe("a password that is refused", () => {
  test("is one answer for unknown, wrong, disabled, locked and somebody else's people", async () => {
    const user = await fleet.newUser();
    const disabled = await fleet.newUser();
    await fleet.prisma.user.update({ where: { id: disabled.id }, data: { disabledAt: new Date() } });
    const locked = await fleet.newUser();
    await fleet.prisma.user.update({
      where: { id: locked.id },
      data: { lockedUntil: new Date(Date.now() + 60_000) },
    });
    const { id: organizationId } = await fleet.newOrganization();
    const foreign = await fleet.newUser({ organizationId });
    const replies = [
      await ask("nobody"),
      await ask("nobody@example.com"),
      await ask("\0"),
      await ask(user.username, "wrong password"),
      await ask(disabled.username),
      await ask(locked.username),
      await ask(foreign.username),
    ].map(({ status, body }) => JSON.stringify({ status, body }));
    expect(new Set(replies).size).toBe(1);
    expect(JSON.parse(replies[0] ?? "")).toMatchObject({ status: 400, body: { error: "invalid_grant" } });
  });

  test("locks the account as at login", async () => {
    const user = await fleet.newUser();
    for (let time = 0; time < 5; time += 1) await ask(user.username, "wrong password");
    expect((await ask(user.username)).body["error"]).toBe("invalid_grant");
    const { lockedUntil } = await fleet.prisma.user.findUniqueOrThrow({ where: { id: user.id } });
    expect(Number(lockedUntil)).toBeGreaterThan(Date.now());
  });

  test("too often from one address is 429 with the time to wait, in the words of OAuth", async () => {
    const reply = await lastOf(
      // A window may begin in between.
      2 * ATTEMPT_LIMITS.addressFailures + 1,
      () => ask(`nobody-${newId()}`, "wrong password"),
      ({ status }) => status === 429,
    );
    expect(reply.status).toBe(429);
    expect(Number(reply.headers["retry-after"])).toBeGreaterThan(0);
    expect(reply.body["error"]).toBe("temporarily_unavailable");
  });

  test("is invalid_request where the name or the password is missing", async () => {
    for (const more of [{ username: "" }, { password: "" }]) {
      expect((await ask("somebody", PASSWORD, more)).body["error"]).toBe("invalid_request");
    }
  });
});

/** Repeats something until it is as wanted, at most that often. */
async function lastOf<T>(times: number, work: () => Promise<T>, isWanted: (value: T) => boolean): Promise<T> {
  let value = await work();
  for (let time = 1; time < times && !isWanted(value); time += 1) value = await work();
  return value;
}
