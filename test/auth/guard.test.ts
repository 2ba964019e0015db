import { createHmac, generateKeyPairSync, type KeyObject } from "node:crypto";
import { SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Scope } from "../../src/auth/scopes.js";
import { until } from "../support/until.js";
import { type Harness, openHarness } from "./harness.js";
import { claimsOf } from "./token-requests.js";

let h: Harness;

beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const call = (token: string, url = "/jobs", method: "GET" | "POST" = "GET") =>
  h.app.inject({ method, url, headers: { authorization: `Bearer ${token}` } });
const base64url = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** The claims of a token that would be accepted. */
async function goodClaims(): Promise<Record<string, unknown>> {
  return claimsOf(await h.tokenOf());
}

async function forge(
  change: Record<string, unknown>,
  header: Record<string, unknown> = {},
  key: KeyObject = h.keys.active.privateKey,
): Promise<string> {
  const claims = { ...(await goodClaims()), ...change };
  return new SignJWT(claims)
    .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: h.keys.active.kid, ...header })
    .sign(key);
}

describe("a guarded route", () => {
  test("answers a token that has the scope, and knows who calls", async () => {
    const response = await call(await h.tokenOf(h.admin, { audience: "service" }));
    expect(response.statusCode).toBe(200);
    expect(response.json()).toMatchObject({
      ...{ kind: "client", name: "administrator", organizationId: h.organizationId, projects: "all" },
      ...{ audience: "service" },
    });
    expect(response.headers["www-authenticate"]).toBeUndefined();
  });

  test("takes the scheme in any case, and the same token again and again", async () => {
    const token = await h.tokenOf();
    for (const scheme of ["Bearer", "bearer", "BEARER"]) {
      const response = await h.app.inject({ url: "/jobs", headers: { authorization: `${scheme} ${token}` } });
      expect(response.statusCode).toBe(200);
    }
  });

  test("takes what it itself would forge: the cases below fail for their change alone", async () => {
    expect((await call(await forge({}))).statusCode).toBe(200);
  });

  test.each([
    ["no Authorization header", {}],
    ["another scheme", { authorization: "Basic YTpi" }],
    ["a scheme alone", { authorization: "Bearer" }],
  ])("answers 401 without an error code to %s (RFC 6750 section 3.1)", async (_name, headers) => {
    const response = await h.app.inject({ url: "/jobs", headers });
    expect(response.statusCode).toBe(401);
    expect(response.headers["www-authenticate"]).toBe('Bearer realm="gatehouse"');
  });

  const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const seconds = (ago: number): number => Math.floor(Date.now() / 1000) - ago;
  test.each<[string, () => Promise<string>]>([
    ["that is no JWT", async () => "nonsense"],
    ["of two parts", async () => "a.b c"],
    ["that is empty but for dots", async () => ".."],
    ["whose signature was changed", async () => `${(await h.tokenOf()).slice(0, -4)}AAAA`],
    [
      "whose claims were changed",
      async () => {
        const [header, , signature] = (await h.tokenOf()).split(".");
        return `${header}.${base64url({ ...(await goodClaims()), gen: 1, scope: "service" })}.${signature}`;
      },
    ],
    [
      "without a signature (alg none)",
      async () =>
        `${base64url({ alg: "none", typ: "at+jwt", kid: h.keys.active.kid })}.${base64url(await goodClaims())}.`,
    ],
    [
      "without a signature under ES256",
      async () =>
        `${base64url({ alg: "ES256", typ: "at+jwt", kid: h.keys.active.kid })}.${base64url(await goodClaims())}.`,
    ],
    [
      "signed as HS256 with the public key for a secret",
      async () => {
        const input = `${base64url({ alg: "HS256", typ: "at+jwt", kid: h.keys.active.kid })}.${base64url(await goodClaims())}`;
        const pem = (await h.keys.publicPem(h.keys.active.kid)) ?? "";
        return `${input}.${createHmac("sha256", pem).update(input).digest("base64url")}`;
      },
    ],
    ["signed with a key of one's own under our kid", () => forge({}, {}, p256.privateKey)],
    ["of an unknown kid", () => forge({}, { kid: "unknown" }, p256.privateKey)],
    ["without a kid", () => forge({}, { kid: undefined })],
    ["with a kid that is no text", () => forge({}, { kid: 7 as never })],
    [
      "that carries its own key",
      () =>
        forge({}, { kid: "mine", jwk: p256.publicKey.export({ format: "jwk" }) as never }, p256.privateKey),
    ],
    ["of another issuer", () => forge({ iss: "https://elsewhere.example" })],
    ["without an issuer", () => forge({ iss: undefined })],
    ["for another audience", () => forge({ aud: "https://elsewhere.example/api/" })],
    ["for several audiences", () => forge({ aud: ["urn:gatehouse:default", "https://elsewhere.example"] })],
    ["without an audience", () => forge({ aud: undefined })],
    ["that expired", () => forge({ exp: seconds(5) })],
    ["that never expires", () => forge({ exp: undefined })],
    ["whose expiry is text", () => forge({ exp: "2099" })],
    ["that is not valid yet", () => forge({ nbf: seconds(-60) })],
    ["of another type (an id token)", () => forge({}, { typ: "JWT" })],
    ["without a type", () => forge({}, { typ: undefined })],
    ["without a generation", () => forge({ gen: undefined })],
    ["with a generation that is text", () => forge({ gen: "1" })],
    ["of another organization", () => forge({ org: "0190a3f0-6f2e-7c55-9d4b-2f6f1c1f7a10" })],
    ["of a client that does not exist", () => forge({ client_id: "nobody" })],
    ["of a client with a name that breaks queries", () => forge({ client_id: "a\0b" })],
    ["with critical extensions", () => forge({}, { crit: ["b64"], b64: true })],
  ])("refuses a token %s", async (_name, make) => {
    const response = await call(await make());
    expect(response.statusCode).toBe(401);
    expect(response.headers["www-authenticate"]).toMatch(
      /^Bearer error="invalid_token", error_description="[ -!#-[\]-~]+"$/,
    );
  });

  test("answers 403 with the scope that is missing", async () => {
    const token = await h.tokenOf(h.admin, { scope: "job:read" });
    const response = await call(token, "/jobs", "POST");
    expect(response.statusCode).toBe(403);
    expect(response.json().code).toBe("insufficient_scope");
    expect(response.headers["www-authenticate"]).toBe(
      'Bearer error="insufficient_scope", scope="job:read job:write"',
    );
    expect(
      (await call(await h.tokenOf(h.admin, { scope: "job:read job:write" }), "/jobs", "POST")).statusCode,
    ).toBe(200);
  });

  test("that asks no scope answers any authenticated caller, and nobody else", async () => {
    expect((await call(await h.tokenOf(h.admin, { scope: "app:read" }), "/anybody")).statusCode).toBe(200);
    expect((await h.app.inject({ url: "/anybody" })).statusCode).toBe(401);
  });

  test("is guarded for HEAD as for GET", async () => {
    expect((await h.app.inject({ method: "HEAD", url: "/jobs" })).statusCode).toBe(401);
  });

  test("stops accepting a token at its expiry, also one that it has just accepted", async () => {
    const short = await h.newClient({ tokenLifetime: 1 });
    const token = await h.tokenOf(short);
    expect((await call(token)).statusCode).toBe(200);
    const refused = await until(
      "expiry",
      async () => {
        const response = await call(token);
        return response.statusCode === 401 && response;
      },
      5_000,
    );
    expect(refused.headers["www-authenticate"]).toContain("expired");
  });

  test("public routes and unknown paths ask for nothing", async () => {
    expect((await h.app.inject({ url: "/open" })).statusCode).toBe(200);
    expect(
      (await h.app.inject({ url: "/open", headers: { authorization: "Bearer nonsense" } })).statusCode,
    ).toBe(200);
    expect((await h.app.inject({ url: "/nowhere" })).statusCode).toBe(404);
  });
});

describe("what the database says of a client", () => {
  const within = async (what: string, probe: () => Promise<boolean>): Promise<number> => {
    const start = performance.now();
    await until(what, probe, 5_000);
    return performance.now() - start;
  };

  test("ends its tokens within a second when it is disabled", async () => {
    const client = await h.newClient();
    const token = await h.tokenOf(client);
    expect((await call(token)).statusCode).toBe(200);
    await h.database.query("UPDATE api_clients SET disabled_at = now() WHERE client_id = $1", [
      client.clientId,
    ]);
    expect(await within("401", async () => (await call(token)).statusCode === 401)).toBeLessThan(1_000);
    expect((await call(token)).headers["www-authenticate"]).toContain("revoked");
  });

  test("does not revive them when it is enabled again: the generation has moved on", async () => {
    const client = await h.newClient();
    const token = await h.tokenOf(client);
    await h.database.query("UPDATE api_clients SET generation = generation + 1 WHERE client_id = $1", [
      client.clientId,
    ]);
    await within("401", async () => (await call(token)).statusCode === 401);
    expect((await call(await h.tokenOf(client))).statusCode).toBe(200);
  });

  test("ends them when the client expires or is deleted", async () => {
    for (const change of ["UPDATE api_clients SET expires_at = now()", "DELETE FROM api_clients"]) {
      const client = await h.newClient();
      const token = await h.tokenOf(client);
      expect((await call(token)).statusCode).toBe(200);
      await h.database.query(`${change} WHERE client_id = $1`, [client.clientId]);
      await within("401", async () => (await call(token)).statusCode === 401);
    }
  });

  test("limits its tokens to the scopes that it still has", async () => {
    const client = await h.newClient();
    const token = await h.tokenOf(client);
    await h.database.query("UPDATE api_clients SET scopes = '{job:read}' WHERE client_id = $1", [
      client.clientId,
    ]);
    await within("403", async () => (await call(token, "/jobs", "POST")).statusCode === 403);
    expect((await call(token)).json().scopes).toEqual(["job:read"]);
  });

  test("gives the projects, not the token", async () => {
    const { id } = await h.prisma.project.findFirstOrThrow();
    const client = await h.newClient({ projects: new Set([id]) });
    const token = await h.tokenOf(client);
    expect((await call(token)).json().projects).toEqual([id]);
    await h.database.query("DELETE FROM api_client_projects WHERE project_id = $1", [id]);
    await within("no projects", async () => (await call(token)).json().projects.length === 0);
  });

  test("is asked again when a token is of a later generation than memory has, so it works at once", async () => {
    const client = await h.newClient();
    await call(await h.tokenOf(client));
    await h.database.query("UPDATE api_clients SET generation = generation + 1 WHERE client_id = $1", [
      client.clientId,
    ]);
    const fromElsewhere = await forge({ client_id: client.clientId, sub: client.clientId, gen: 2 });
    expect((await call(fromElsewhere)).statusCode).toBe(200);
    expect((await call(await forge({ client_id: client.clientId, gen: 3 }))).statusCode).toBe(401);
  });

  test("is asked again when a token has more scopes than memory, so a widened grant works at once", async () => {
    const client = await h.newClient({ scopes: new Set<Scope>(["job:read"]) });
    await call(await h.tokenOf(client));
    await h.database.query("UPDATE api_clients SET scopes = '{job:read,job:write}' WHERE client_id = $1", [
      client.clientId,
    ]);
    const fromElsewhere = await forge({ client_id: client.clientId, scope: "job:read job:write" });
    expect((await call(fromElsewhere, "/jobs", "POST")).statusCode).toBe(200);
  });

  test("is never guessed: when it cannot be asked for a second, the answer is 503", async () => {
    const token = await h.tokenOf();
    expect((await call(token)).statusCode).toBe(200);
    h.cutDatabase(true);
    try {
      expect(await within("503", async () => (await call(token)).statusCode === 503)).toBeLessThan(1_600);
      const response = await call(token);
      expect([response.statusCode, response.json().code]).toEqual([503, "unavailable"]);
      expect(response.headers["www-authenticate"]).toBeUndefined();
    } finally {
      h.cutDatabase(false);
    }
    await until("200 again", async () => (await call(token)).statusCode === 200);
  });
});
