import { createPublicKey, verify } from "node:crypto";
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hashedSecret } from "../../src/auth/clients.js";
import { addSigningKey } from "../../src/auth/keys.js";
import type { Scope } from "../../src/auth/scopes.js";
import { newId } from "../../src/platform/ids.js";
import { type Harness, openHarness, PUBLIC_URL } from "../auth/harness.js";

let h: Harness;
const FORM = "application/x-www-form-urlencoded";
const ALL = "service production:destructive platform:admin";

beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const credentials = (client: { clientId: string; clientSecret: string } = h.admin) => ({
  grant_type: "client_credentials",
  client_id: client.clientId,
  client_secret: client.clientSecret,
});
const post = (
  payload: string | Buffer,
  contentType?: string,
  headers: Record<string, string> = {},
  url = "/oauth/token",
) =>
  h.app.inject({
    method: "POST",
    url,
    payload,
    headers: { ...(contentType === undefined ? {} : { "content-type": contentType }), ...headers },
  });
const postJson = (body: object, headers = {}) => post(JSON.stringify(body), "application/json", headers);
const basic = (id: string, secret: string): { authorization: string } => ({
  authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString("base64")}`,
});
const claimsOf = (token: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
const now = (): number => Math.floor(Date.now() / 1000);

describe("a token", () => {
  test("is an RFC 9068 JWT that the published keys verify", async () => {
    const { access_token } = (await h.postForm({ ...credentials(), audience: "service" })).json();
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
    const response = await h.postForm(credentials());
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
      await h.postForm(credentials(), {
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
    const response = await h.postForm({ ...credentials(), ...parameters });
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
    const response = await h.postForm({ ...credentials(), ...parameters });
    expect([response.statusCode, response.json().error]).toEqual([400, "invalid_target"]);
  });

  test("gives way to the client's own lifetime", async () => {
    const client = await h.newClient({ tokenLifetime: 120 });
    expect((await h.postForm({ ...credentials(client), audience: "service" })).json().expires_in).toBe(120);
  });
});

describe("the scope", () => {
  const reader = { scopes: new Set<Scope>(["job:read", "run:read"]) };

  test("not asked is all that was granted", async () => {
    expect((await h.postForm(credentials(await h.newClient(reader)))).json().scope).toBe("run:read job:read");
  });

  test("asked is what is answered and what the token holds", async () => {
    const response = await h.postForm({ ...credentials(), scope: "job:read platform:admin" });
    expect(response.json().scope).toBe("job:read platform:admin");
    expect(claimsOf(response.json().access_token)["scope"]).toBe("job:read platform:admin");
  });

  test("service names the full tenant grant", async () => {
    expect((await h.postForm({ ...credentials(), scope: "service" })).json().scope).toBe("service");
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
    const response = await h.postForm({ ...credentials(await h.newClient(reader)), scope });
    expect([response.statusCode, response.json().error]).toEqual([400, "invalid_scope"]);
    expect(response.json().access_token).toBeUndefined();
  });

  test("of a client that was granted nothing is invalid_scope", async () => {
    const response = await h.postForm(credentials(await h.newClient({ scopes: new Set() })));
    expect([response.statusCode, response.json().error]).toEqual([400, "invalid_scope"]);
  });

  test("that was granted a moment ago is there at once", async () => {
    const client = await h.newClient(reader);
    await h.tokenOf(client);
    await h.database.query("UPDATE api_clients SET scopes = '{job:write}' WHERE client_id = $1", [
      client.clientId,
    ]);
    expect((await h.postForm({ ...credentials(client), scope: "job:write" })).json().scope).toBe("job:write");
  });
});

describe("client authentication", () => {
  test("works in the body and in HTTP Basic, form-encoded there (RFC 6749 section 2.3.1)", async () => {
    // The administrator's secret holds a plus sign, a space, a slash and an equal sign.
    const { clientId, clientSecret } = h.admin;
    expect((await h.postForm(credentials())).statusCode).toBe(200);
    expect((await postJson(credentials())).statusCode).toBe(200);
    const grant = { grant_type: "client_credentials" };
    expect((await h.postForm(grant, basic(clientId, clientSecret))).statusCode).toBe(200);
    expect((await postJson(grant, basic(clientId, clientSecret))).statusCode).toBe(200);
    const plus = { authorization: basic(clientId, clientSecret).authorization.replace("Basic", "bAsIc") };
    expect((await h.postForm({ ...grant, client_id: clientId }, plus)).statusCode).toBe(200);
    const formEncoded = `${clientId}:${new URLSearchParams({ s: clientSecret }).toString().slice(2)}`;
    const authorization = `Basic ${Buffer.from(formEncoded).toString("base64")}`;
    expect((await h.postForm(grant, { authorization })).statusCode).toBe(200);
  });

  test("works with a plus sign that a careless client did not encode", async () => {
    const client = await h.newClient({ clientSecret: "abc+def/ghi=jkl+mno" });
    const body = `grant_type=client_credentials&client_id=${client.clientId}&client_secret=${client.clientSecret}`;
    expect((await post(body, FORM)).statusCode).toBe(200);
    const authorization = `Basic ${Buffer.from(`${client.clientId}:${client.clientSecret}`).toString("base64")}`;
    expect((await post("grant_type=client_credentials", FORM, { authorization })).statusCode).toBe(200);
  });

  test("fails alike for an unknown client, a wrong secret, a disabled and an expired client", async () => {
    const past = new Date(Date.now() - 1_000);
    const client = await h.newClient();
    const disabled = await h.newClient();
    await h.database.query("UPDATE api_clients SET disabled_at = now() WHERE client_id = $1", [
      disabled.clientId,
    ]);
    const wrong = `${client.clientSecret.slice(0, -1)}${client.clientSecret.endsWith("A") ? "B" : "A"}`;
    const tries = [
      { clientId: "nobody", clientSecret: "secret" },
      { clientId: "a\0b", clientSecret: "secret" },
      { clientId: "x".repeat(5_000), clientSecret: "secret" },
      { ...client, clientSecret: wrong },
      { ...client, clientSecret: "" },
      disabled,
      await h.newClient({ expiresAt: past }),
    ];
    const answers = await Promise.all(
      tries.map(async (each) => {
        const { statusCode, body, headers } = await h.postForm(credentials(each));
        const { date: _date, ...rest } = headers;
        return { statusCode, body, rest };
      }),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0]).toMatchObject({
      statusCode: 401,
      rest: { "www-authenticate": expect.stringMatching(/^Basic /) },
    });
    expect(JSON.parse(answers[0]?.body ?? "")).toEqual({
      ...{ error: "invalid_client", error_description: "client authentication failed" },
    });
  });

  test("that fails in HTTP Basic is answered with that scheme", async () => {
    const response = await h.postForm({ grant_type: "client_credentials" }, basic(h.admin.clientId, "wrong"));
    expect([response.statusCode, response.json().error]).toEqual([401, "invalid_client"]);
    expect(response.headers["www-authenticate"]).toMatch(/^Basic realm=/);
  });

  test("stops working at once for a disabled client of which memory knows nothing, and within a second otherwise", async () => {
    const client = await h.newClient();
    await h.tokenOf(client);
    await h.database.query("UPDATE api_clients SET disabled_at = now() WHERE client_id = $1", [
      client.clientId,
    ]);
    h.records.forget(client.clientId);
    expect((await h.postForm(credentials(client))).statusCode).toBe(401);
  });

  test("accepts a secret that was added and a client that was enabled a moment ago", async () => {
    const client = await h.newClient();
    await h.tokenOf(client);
    const { id } = await h.prisma.apiClient.findUniqueOrThrow({ where: { clientId: client.clientId } });
    const added = hashedSecret(h.masterKey, "the second secret");
    await h.prisma.apiClientSecret.create({ data: { id: newId(), clientId: id, ...added } });
    expect((await h.postForm(credentials({ ...client, clientSecret: "the second secret" }))).statusCode).toBe(
      200,
    );
    await h.database.query("UPDATE api_clients SET disabled_at = now() WHERE id = $1", [id]);
    await h.records.reload(client.clientId);
    expect((await h.postForm(credentials(client))).statusCode).toBe(401);
    await h.database.query("UPDATE api_clients SET disabled_at = NULL WHERE id = $1", [id]);
    expect((await h.postForm(credentials(client))).statusCode).toBe(200);
  });

  test("grants only what the client may use", async () => {
    const client = await h.newClient({ grantTypes: ["password"] });
    const response = await h.postForm(credentials(client));
    expect([response.statusCode, response.json().error]).toEqual([400, "unauthorized_client"]);
  });
});

describe("a bad token request", () => {
  const good = (): string => new URLSearchParams(credentials()).toString();
  const id = (): string => `grant_type=client_credentials&client_id=${h.admin.clientId}`;

  test.each<[string, () => Parameters<typeof post>, number, string]>([
    ["with nothing", () => ["", undefined], 400, "invalid_request"],
    ["with an empty form", () => ["", FORM], 400, "invalid_request"],
    ["with an empty JSON body", () => ["", "application/json"], 400, "invalid_request"],
    ["without a grant type", () => [good().replace("grant_type", "grant"), FORM], 400, "invalid_request"],
    [
      "with an empty grant type",
      () => [good().replace("client_credentials", ""), FORM],
      400,
      "invalid_request",
    ],
    [
      "of an unknown grant type",
      () => [good().replace("client_credentials", "magic"), FORM],
      400,
      "unsupported_grant_type",
    ],
    [
      "of a grant type that is off",
      () => [good().replace("client_credentials", "authorization_code"), FORM],
      400,
      "unsupported_grant_type",
    ],
    [
      "of the implicit grant type",
      () => [good().replace("client_credentials", "implicit"), FORM],
      400,
      "unsupported_grant_type",
    ],
    ["without any client", () => ["grant_type=client_credentials", FORM], 401, "invalid_client"],
    ["without a secret", () => [id(), FORM], 401, "invalid_client"],
    ["with an empty secret", () => [`${id()}&client_secret=`, FORM], 401, "invalid_client"],
    ["with a client twice", () => [`${good()}&client_id=other`, FORM], 400, "invalid_request"],
    ["with a secret twice", () => [`${good()}&client_secret=other`, FORM], 400, "invalid_request"],
    ["with a scope twice", () => [`${good()}&scope=job:read&scope=job:read`, FORM], 400, "invalid_request"],
    [
      "with a grant type twice",
      () => [`${good()}&grant_type=client_credentials`, FORM],
      400,
      "invalid_request",
    ],
    [
      "with a resource twice",
      () => [`${good()}&resource=service&resource=default`, FORM],
      400,
      "invalid_request",
    ],
    [
      "that authenticates both ways",
      () => [good(), FORM, basic(h.admin.clientId, h.admin.clientSecret)],
      400,
      "invalid_request",
    ],
    [
      "that names one client in Basic and another in the body",
      () => [
        "grant_type=client_credentials&client_id=other",
        FORM,
        basic(h.admin.clientId, h.admin.clientSecret),
      ],
      400,
      "invalid_request",
    ],
    [
      "with Basic that is not base64",
      () => ["grant_type=client_credentials", FORM, { authorization: "Basic !!!" }],
      400,
      "invalid_request",
    ],
    [
      "with Basic without a colon",
      () => ["grant_type=client_credentials", FORM, { authorization: "Basic YWJj" }],
      400,
      "invalid_request",
    ],
    [
      "with Basic that is badly encoded",
      () => [
        "grant_type=client_credentials",
        FORM,
        { authorization: `Basic ${Buffer.from("%zz:%zz").toString("base64")}` },
      ],
      400,
      "invalid_request",
    ],
    [
      "with an empty secret in Basic",
      () => [
        "grant_type=client_credentials",
        FORM,
        { authorization: `Basic ${Buffer.from("a:").toString("base64")}` },
      ],
      400,
      "invalid_request",
    ],
    [
      "with Basic of three parts",
      () => ["grant_type=client_credentials", FORM, { authorization: "Basic a b" }],
      400,
      "invalid_request",
    ],
    [
      "with a bearer token for credentials",
      () => ["grant_type=client_credentials", FORM, { authorization: "Bearer abc" }],
      401,
      "invalid_client",
    ],
    ["with bytes that are no UTF-8", () => [Buffer.from([0x61, 0x3d, 0xff]), FORM], 400, "invalid_request"],
    ["with encoded bytes that are no UTF-8", () => [`${good()}&scope=%ff`, FORM], 400, "invalid_request"],
    ["with malformed JSON", () => ['{"grant_type":', "application/json"], 400, "invalid_request"],
    ["with JSON of another shape", () => ["[]", "application/json"], 400, "invalid_request"],
    [
      "with JSON numbers",
      () => [JSON.stringify({ ...credentials(), client_id: 1 }), "application/json"],
      400,
      "invalid_request",
    ],
    [
      "with JSON lists",
      () => [JSON.stringify({ ...credentials(), scope: ["job:read"] }), "application/json"],
      400,
      "invalid_request",
    ],
    [
      "with JSON that spells half a character",
      () => ['{"grant_type":"\\ud800"}', "application/json"],
      400,
      "invalid_request",
    ],
    ["with deeply nested JSON", () => ["[".repeat(20_000), "application/json"], 400, "invalid_request"],
    ["as multipart", () => [good(), "multipart/form-data; boundary=x"], 400, "invalid_request"],
    ["as text", () => [good(), "text/plain"], 400, "invalid_request"],
    ["as XML", () => ["<a/>", "application/xml"], 400, "invalid_request"],
    ["of a content type that is none", () => [good(), "nonsense"], 400, "invalid_request"],
    ["without a content type", () => [good(), undefined], 400, "invalid_request"],
    ["that is huge", () => [`${good()}&x=${"x".repeat(100_000)}`, FORM], 413, "invalid_request"],
    [
      "that is huge, as JSON",
      () => [JSON.stringify({ ...credentials(), x: "x".repeat(100_000) }), "application/json"],
      413,
      "invalid_request",
    ],
  ])("%s", async (_name, make, status, error) => {
    const [payload, contentType, headers] = make();
    const response = await post(payload, contentType, headers);
    expect([response.statusCode, response.json().error]).toEqual([status, error]);
    expect(response.json().error_description).toEqual(expect.any(String));
    expect(response.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
    if (status === 401) expect(response.headers["www-authenticate"]).toMatch(/^Basic /);
  });

  test("never puts credentials into the log, and still is in the access log", async () => {
    const secret = "a-secret-that-is-nowhere-else";
    h.log.length = 0;
    await h.postForm({ ...credentials(), client_secret: secret });
    await postJson({ ...credentials(), client_secret: secret });
    await h.postForm({ grant_type: "client_credentials" }, basic(h.admin.clientId, secret));
    const token = await h.tokenOf();
    const log = h.log.join("");
    for (const text of [secret, h.admin.clientSecret, token, encodeURIComponent(h.admin.clientSecret)]) {
      expect(log).not.toContain(text);
    }
    const done = h.log
      .map((line) => JSON.parse(line))
      .filter(({ responseTime }) => responseTime !== undefined);
    expect(done.map(({ res }) => res.statusCode)).toEqual([401, 401, 401, 200]);
  });
});

describe("the token path", () => {
  test.each(["/oauth/token", "/organizations/oauth/token"])("%s takes POST alone", async (url) => {
    for (const method of ["GET", "HEAD", "PUT", "PATCH", "DELETE"] as const) {
      const response = await h.app.inject({ method, url: `${url}?client_id=a&client_secret=b` });
      expect([response.statusCode, response.headers["allow"]]).toEqual([405, "POST"]);
      if (method !== "HEAD") expect(response.json().error).toBe("invalid_request");
    }
  });

  test("has an alias that gives the same", async () => {
    const url = "/organizations/oauth/token";
    const response = await post(
      new URLSearchParams({ ...credentials(), audience: "service" }).toString(),
      FORM,
      {},
      url,
    );
    expect(response.json()).toEqual({
      ...{ access_token: expect.any(String), token_type: "Bearer", expires_in: 86_400, scope: ALL },
    });
    expect((await post("{}", "application/json", {}, url)).json().error).toBe("invalid_request");
  });

  test("ignores its query and unknown parameters (RFC 6749 section 3.2)", async () => {
    const form = new URLSearchParams({ ...credentials(), foo: "bar", username: "u", nonce: "n" }).toString();
    const response = await post(
      `${form}&foo=again`,
      FORM,
      {},
      "/oauth/token?grant_type=magic&client_id=other",
    );
    expect(response.statusCode).toBe(200);
    const json = { ...credentials(), foo: [1, { bar: null }], username: 7 };
    expect((await postJson(json)).statusCode).toBe(200);
  });

  test("takes content types with parameters and in any case", async () => {
    const form = new URLSearchParams(credentials()).toString();
    expect((await post(form, `${FORM}; charset=UTF-8`)).statusCode).toBe(200);
    expect((await post(form, "Application/X-WWW-Form-Urlencoded")).statusCode).toBe(200);
    expect((await post(JSON.stringify(credentials()), "application/json; charset=utf-8")).statusCode).toBe(
      200,
    );
  });

  test("answers JSON to a browser that would rather have HTML", async () => {
    const response = await h.postForm({ ...credentials(), client_secret: "x" }, { accept: "text/html" });
    expect(response.headers["content-type"]).toBe("application/json; charset=utf-8");
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
