import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Harness, openHarness } from "../auth/harness.js";
import { ALL, basic, credentials, FORM, post, postJson } from "../auth/token-requests.js";

let h: Harness;

beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

/** Body, content type, headers. */
type Sent = [string | Buffer, string | undefined, Record<string, string>?];

describe("a bad token request", () => {
  const good = (): string => new URLSearchParams(credentials(h)).toString();
  const id = (): string => `grant_type=client_credentials&client_id=${h.admin.clientId}`;

  test.each<[string, () => Sent, number, string]>([
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
      () => [JSON.stringify({ ...credentials(h), client_id: 1 }), "application/json"],
      400,
      "invalid_request",
    ],
    [
      "with JSON lists",
      () => [JSON.stringify({ ...credentials(h), scope: ["job:read"] }), "application/json"],
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
      () => [JSON.stringify({ ...credentials(h), x: "x".repeat(100_000) }), "application/json"],
      413,
      "invalid_request",
    ],
  ])("%s", async (_name, make, status, error) => {
    const [payload, contentType, headers] = make();
    const response = await post(h, payload, contentType, headers);
    expect([response.statusCode, response.json().error]).toEqual([status, error]);
    expect(response.json().error_description).toEqual(expect.any(String));
    expect(response.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
    if (status === 401) expect(response.headers["www-authenticate"]).toMatch(/^Basic /);
  });

  test("never puts credentials into the log, and still is in the access log", async () => {
    const secret = "a-secret-that-is-nowhere-else";
    h.log.length = 0;
    await h.postForm({ ...credentials(h), client_secret: secret });
    await postJson(h, { ...credentials(h), client_secret: secret });
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
      h,
      new URLSearchParams({ ...credentials(h), audience: "service" }).toString(),
      FORM,
      {},
      url,
    );
    expect(response.json()).toEqual({
      ...{ access_token: expect.any(String), token_type: "Bearer", expires_in: 86_400, scope: ALL },
    });
    expect((await post(h, "{}", "application/json", {}, url)).json().error).toBe("invalid_request");
  });

  test("ignores its query and unknown parameters (RFC 6749 section 3.2)", async () => {
    const form = new URLSearchParams({ ...credentials(h), foo: "bar", username: "u", nonce: "n" }).toString();
    const response = await post(
      h,
      `${form}&foo=again`,
      FORM,
      {},
      "/oauth/token?grant_type=magic&client_id=other",
    );
    expect(response.statusCode).toBe(200);
    const json = { ...credentials(h), foo: [1, { bar: null }], username: 7 };
    expect((await postJson(h, json)).statusCode).toBe(200);
  });

  test("takes content types with parameters and in any case", async () => {
    const form = new URLSearchParams(credentials(h)).toString();
    expect((await post(h, form, `${FORM}; charset=UTF-8`)).statusCode).toBe(200);
    expect((await post(h, form, "Application/X-WWW-Form-Urlencoded")).statusCode).toBe(200);
    expect(
      (await post(h, JSON.stringify(credentials(h)), "application/json; charset=utf-8")).statusCode,
    ).toBe(200);
  });

  test("answers JSON to a browser that would rather have HTML", async () => {
    const response = await h.postForm({ ...credentials(h), client_secret: "x" }, { accept: "text/html" });
    expect(response.headers["content-type"]).toBe("application/json; charset=utf-8");
  });
});
