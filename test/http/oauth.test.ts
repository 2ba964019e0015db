import { createPublicKey, verify } from "node:crypto";
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addSigningKey } from "../../src/auth/keys.js";
import type { Scope } from "../../src/auth/scopes.js";
import { type Harness, openHarness, PUBLIC_URL } from "../auth/harness.js";
import { ALL, claimsOf, credentials } from "../auth/token-requests.js";

let h: Harness;

beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const now = (): number => Math.floor(Date.now() / 1000);

describe("a token", () => {
  test("is an RFC 9068 JWT that the published keys verify", async () => {
    const { access_token } = (await h.postForm({ ...credentials(h), audience: "service" })).json();
    expect(decodeProtectedHeader(access_token)).toEqual({
      alg: "ES256",
      typ: "at+jwt",
      kid: h.keys.active.kid,
    });
    const keys = (await h.app.inject({ url: "/oauth/jwks" })).json();
    const { payload } = await jwtVerify(access_token, createLocalJWKSet(keys), {
      ...{ issuer: PUBLIC_URL, audience: "urn:gatehouse:service", typ: "at+jwt", algorithms: ["ES256"] },
    });
    expect(payload).toEqual({
      ...{
        iss: PUBLIC_URL,
        aud: "urn:gatehouse:service",
        sub: h.admin.clientId,
        client_id: h.admin.clientId,
      },
      ...{ iat: expect.any(Number), exp: (payload.iat ?? 0) + 86_400, jti: expect.any(String), scope: ALL },
      ...{ org: h.organizationId, gen: 1 },
    });
    expect(Math.abs((payload.iat ?? 0) - now())).toBeLessThan(5);
  });

  test("comes with status 200, not to be stored, and a number for expires_in", async () => {
    const response = await h.postForm(credentials(h));
    expect(response.statusCode).toBe(200);
    expect(response.headers).toMatchObject({
      ...{
        "cache-control": "no-store",
        pragma: "no-cache",
        "content-type": "application/json; charset=utf-8",
      },
    });
    expect(response.headers["access-control-allow-origin"]).toBeUndefined();
    expect(response.json()).toEqual({
      ...{ access_token: expect.any(String), token_type: "Bearer", expires_in: 3_600, scope: ALL },
    });
  });

  test("has an id of its own each time", async () => {
    const ids = await Promise.all([1, 2, 3].map(async () => claimsOf(await h.tokenOf())["jti"]));
    expect(new Set(ids).size).toBe(3);
  });

  test("names the public URL as issuer, whatever host and proxy headers say", async () => {
    const { access_token } = (
      await h.postForm(credentials(h), {
        ...{ host: "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "gopher" },
        ...{ forwarded: "host=evil.example;proto=http", "x-forwarded-for": "10.0.0.1" },
      })
    ).json();
    expect(claimsOf(access_token)["iss"]).toBe(PUBLIC_URL);
  });

  test("is signed by a new key as soon as that one is active, and the old key still verifies", async () => {
    const before = h.keys.active.kid;
    const old = await h.tokenOf();
    const next = await h.prisma.$transaction((tx) => addSigningKey(tx, h.masterKey, new Date()));
    await h.keys.reload();
    const token = await h.tokenOf();
    expect(decodeProtectedHeader(token).kid).toBe(next);
    const [header, claims, signature] = token.split(".");
    const key = createPublicKey((await h.keys.publicPem(next)) ?? "");
    const good = verify(
      "sha256",
      Buffer.from(`${header}.${claims}`),
      { key, dsaEncoding: "ieee-p1363" },
      Buffer.from(signature ?? "", "base64url"),
    );
    expect(good).toBe(true);
    for (const each of [old, token]) {
      const response = await h.app.inject({ url: "/jobs", headers: { authorization: `Bearer ${each}` } });
      expect(response.statusCode).toBe(200);
    }
    expect(before).not.toBe(next);
  });
});

describe("the audience", () => {
  test.each<[string, Record<string, string>, string, number]>([
    ["none", {}, "urn:gatehouse:default", 3_600],
    ["audience=service", { audience: "service" }, "urn:gatehouse:service", 86_400],
    ["audience=default", { audience: "default" }, "urn:gatehouse:default", 3_600],
    ["resource=service", { resource: "service" }, "urn:gatehouse:service", 86_400],
    ["the URN of a short name", { resource: "urn:gatehouse:service" }, "urn:gatehouse:service", 86_400],
    ["the public URL's api", { audience: `${PUBLIC_URL}/api/` }, `${PUBLIC_URL}/api/`, 3_600],
    ["both, the same", { audience: "service", resource: "service" }, "urn:gatehouse:service", 86_400],
    ["an empty one", { audience: "", resource: "" }, "urn:gatehouse:default", 3_600],
  ])("%s", async (_name, parameters, aud, lifetime) => {
    const response = await h.postForm({ ...credentials(h), ...parameters });
    expect(response.json()).toMatchObject({ expires_in: lifetime });
    const claims = claimsOf(response.json().access_token);
    expect(claims).toMatchObject({ aud, exp: Number(claims["iat"]) + lifetime });
  });

  test.each<[string, Record<string, string>]>([
    ["unknown", { audience: "https://elsewhere.example/api/" }],
    ["unknown as resource", { resource: "urn:gatehouse:asked:service" }],
    ["a name that objects have", { audience: "constructor" }],
    ["almost known", { audience: `${PUBLIC_URL}/api` }],
    ["two different ones", { audience: "service", resource: "default" }],
    ["a resource with a fragment", { resource: `${PUBLIC_URL}/api/#x` }],
    ["text that is no URI", { resource: "http://[" }],
    ["text beyond ASCII", { audience: "sérvice \u{1f600}\0" }],
  ])("that is %s is invalid_target", async (_name, parameters) => {
    const response = await h.postForm({ ...credentials(h), ...parameters });
    expect([response.statusCode, response.json().error]).toEqual([400, "invalid_target"]);
  });

  test("gives way to the client's own lifetime", async () => {
    const client = await h.newClient({ tokenLifetime: 120 });
    expect((await h.postForm({ ...credentials(h, client), audience: "service" })).json().expires_in).toBe(
      120,
    );
  });
});

describe("the scope", () => {
  const reader = { scopes: new Set<Scope>(["job:read", "run:read"]) };

  test("not asked is all that was granted", async () => {
    expect((await h.postForm(credentials(h, await h.newClient(reader)))).json().scope).toBe(
      "run:read job:read",
    );
  });

  test("asked is what is answered and what the token holds", async () => {
    const response = await h.postForm({ ...credentials(h), scope: "job:read platform:admin" });
    expect(response.json().scope).toBe("job:read platform:admin");
    expect(claimsOf(response.json().access_token)["scope"]).toBe("job:read platform:admin");
  });

  test("service names the full tenant grant", async () => {
    expect((await h.postForm({ ...credentials(h), scope: "service" })).json().scope).toBe("service");
  });

  test.each([
    "job:read job:write",
    "service",
    "platform:admin",
    "job:fly",
    "openid",
    "offline_access",
    "job:read\n",
    "é",
    " ",
  ])("%j beyond the grant is invalid_scope, never dropped in silence", async (scope) => {
    const response = await h.postForm({ ...credentials(h, await h.newClient(reader)), scope });
    expect([response.statusCode, response.json().error]).toEqual([400, "invalid_scope"]);
    expect(response.json().access_token).toBeUndefined();
  });

  test("of a client that was granted nothing is invalid_scope", async () => {
    const response = await h.postForm(credentials(h, await h.newClient({ scopes: new Set() })));
    expect([response.statusCode, response.json().error]).toEqual([400, "invalid_scope"]);
  });

  test("that was granted a moment ago is there at once", async () => {
    const client = await h.newClient(reader);
    await h.tokenOf(client);
    await h.database.query("UPDATE api_clients SET scopes = '{job:write}' WHERE client_id = $1", [
      client.clientId,
    ]);
    expect((await h.postForm({ ...credentials(h, client), scope: "job:write" })).json().scope).toBe(
      "job:write",
    );
  });
});

describe("the keys", () => {
  test("are public, may be kept for minutes, and hold nothing private", async () => {
    const response = await h.app.inject({ url: "/oauth/jwks" });
    expect(response.statusCode).toBe(200);
    expect(response.headers["cache-control"]).toBe("public, max-age=300");
    expect(response.headers["content-type"]).toMatch(/^application\/jwk-set\+json/);
    for (const key of response.json().keys) {
      expect(Object.keys(key).sort()).toEqual(["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
  });
});
