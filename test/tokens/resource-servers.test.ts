import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newId } from "../../src/platform/ids.js";
import { claimsOf, type Fleet, type Instance, lasts, openFleet, PROMISE_MS } from "./support.js";

let fleet: Fleet;
let api: Instance;

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
});
afterAll(() => fleet.close());

const CORE = "/api/v1/jobs/a/probe";
const PROJECT = "/api/v1/project/default/probe";

interface Registered {
  readonly identifier: string;
  readonly tokenLifetime: number;
  readonly scopes: string[];
  readonly dialects: string[];
  readonly organizationId: string;
}

async function register(given: Partial<Registered> = {}): Promise<Registered & { readonly id: string }> {
  const id = newId();
  const server: Registered = {
    ...{ identifier: `https://${id}.example/api/`, tokenLifetime: 600, scopes: ["service"] },
    ...{ dialects: ["core", "project"], organizationId: fleet.organizationId, ...given },
  };
  await fleet.prisma.resourceServer.create({
    data: { ...server, id, name: "a resource server", createdBy: "a test" },
  });
  return { ...server, id };
}

const ask = (audience: string, more: Record<string, string> = {}, client = fleet.admin) =>
  api.post({
    ...{ grant_type: "client_credentials", client_id: client.clientId, client_secret: client.clientSecret },
    ...{ audience, ...more },
  });

describe("a registered resource server", () => {
  test("can be asked for by its identifier, at once, and says how long its tokens live", async () => {
    const { id, identifier } = await register({ tokenLifetime: 123 });
    for (const name of ["audience", "resource"]) {
      const { status, body } = await ask("", { audience: "", [name]: identifier });
      expect([status, body["expires_in"]]).toEqual([200, 123]);
      expect(claimsOf(String(body["access_token"]))).toMatchObject({ aud: identifier, rs: id });
    }
  });

  test("with a short name stands for a URN, which may be asked for as well", async () => {
    const { identifier } = await register({ identifier: `name-${newId()}` });
    const urn = `urn:gatehouse:${identifier}`;
    for (const asked of [identifier, urn]) {
      const { body } = await ask(asked);
      expect(claimsOf(String(body["access_token"]))["aud"]).toBe(urn);
    }
  });

  test("limits what its tokens hold: all that it lets through where nothing is asked, and no more", async () => {
    const { identifier } = await register({ scopes: ["job:read", "run:read"] });
    expect((await ask(identifier)).body["scope"]).toBe("run:read job:read");
    expect((await ask(identifier, { scope: "job:read" })).body["scope"]).toBe("job:read");
    const beyond = await ask(identifier, { scope: "job:write" });
    expect([beyond.status, beyond.body["error"]]).toEqual([400, "invalid_scope"]);
  });

  test("opens the dialects that it names, and no others", async () => {
    const { identifier } = await register({ dialects: ["project"] });
    const token = await api.token(fleet.admin, { audience: identifier });
    expect((await api.call(token, { url: PROJECT })).status).toBe(200);
    const refused = await api.call(token, { url: CORE });
    expect(refused.status).toBe(401);
    expect(refused.headers["www-authenticate"]).toContain("another audience");
    // A second time, now that the token is known.
    expect((await api.call(token, { url: CORE })).status).toBe(401);
  });

  test("opens no other dialect by another spelling of its paths", async () => {
    const { identifier } = await register({ dialects: ["core"] });
    const token = await api.token(fleet.admin, { audience: identifier });
    const origin = new URL(await api.app.listen({ port: 0, host: "127.0.0.1" }));
    const get = (path: string): Promise<number> =>
      new Promise((resolve, reject) => {
        const { hostname, port } = origin;
        const headers = { authorization: `Bearer ${token}` };
        request({ hostname, port, path, headers, agent: false }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        })
          .on("error", reject)
          .end();
      });
    const spellings = ["/organizations/api-clients", "/api/v1/apiKeys", PROJECT].flatMap((path) => [
      path,
      `${path}/`,
      `${path}?x=/api/v1/`,
      `${path}#`,
      `http://gatehouse.example${path}`,
      path.replace(/^\/(.)/, (_all, first: string) => `/%${first.charCodeAt(0).toString(16)}`),
      path.replace(/[a-z](?=[^/]*$)/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
    ]);
    const opened: string[] = [];
    for (const path of spellings) if ((await get(path)) === 200) opened.push(path);
    expect(opened).toEqual([]);
    expect(await get(CORE)).toBe(200);
    expect(await get("/%61pi/v1/jobs/a/probe")).toBe(200);
  });

  test("of another organization is unknown, also where one's own has the same name", async () => {
    const theirs = await fleet.newOrganization();
    const { identifier } = await register({ organizationId: theirs.id, dialects: ["core"] });
    expect((await ask(identifier)).body["error"]).toBe("invalid_target");
    await register({ identifier, dialects: ["project"] });
    const ours = await api.token(fleet.admin, { audience: identifier });
    const other = await api.token(theirs.client, { audience: identifier });
    expect((await api.call(ours, { url: PROJECT })).status).toBe(200);
    expect((await api.call(other, { url: PROJECT })).status).toBe(401);
    expect((await api.call(other, { url: CORE })).status).toBe(200);
  });

  test.each([
    "no-such-server",
    "https://no-such-server.example/",
    "urn:gatehouse:asked:x",
    "x".repeat(5_000),
  ])("that is none is invalid_target: %s", async (audience) => {
    expect((await ask(audience)).body["error"]).toBe("invalid_target");
  });
});

describe("within a second, without a new token", () => {
  test("a deleted server's tokens are worth nothing, also where another one takes over its name", async () => {
    const { id, identifier } = await register();
    const token = await api.token(fleet.admin, { audience: identifier });
    expect((await api.call(token, { url: CORE })).status).toBe(200);
    await fleet.prisma.resourceServer.delete({ where: { id } });
    expect(await lasts(async () => (await api.call(token, { url: CORE })).status !== 401)).toBeLessThan(
      PROMISE_MS,
    );
    await register({ identifier });
    expect((await api.call(token, { url: CORE })).status).toBe(401);
    const anew = await api.token(fleet.admin, { audience: identifier });
    expect((await api.call(anew, { url: CORE })).status).toBe(200);
    expect((await api.call(token, { url: CORE })).status).toBe(401);
  });

  test("a narrowed server's tokens open less, and can do less", async () => {
    const { id, identifier } = await register();
    const token = await api.token(fleet.admin, { audience: identifier });
    expect((await api.call(token, { url: CORE })).status).toBe(200);
    await fleet.prisma.resourceServer.update({ where: { id }, data: { dialects: ["project"] } });
    expect(await lasts(async () => (await api.call(token, { url: CORE })).status !== 401)).toBeLessThan(
      PROMISE_MS,
    );
    expect((await api.call(token, { url: PROJECT })).status).toBe(200);
    await fleet.prisma.resourceServer.update({ where: { id }, data: { scopes: ["run:read"] } });
    expect(await lasts(async () => (await api.call(token, { url: PROJECT })).status !== 403)).toBeLessThan(
      PROMISE_MS,
    );
  });

  test("a widened server's tokens can do what they were issued for again", async () => {
    const { id, identifier } = await register();
    const token = await api.token(fleet.admin, { audience: identifier });
    await fleet.prisma.resourceServer.update({ where: { id }, data: { scopes: ["run:read"] } });
    await lasts(async () => (await api.call(token, { url: CORE })).status !== 403);
    await fleet.prisma.resourceServer.update({ where: { id }, data: { scopes: ["service"] } });
    expect(await lasts(async () => (await api.call(token, { url: CORE })).status !== 200)).toBeLessThan(
      PROMISE_MS,
    );
  });
});
