import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ALL_SCOPES } from "../../src/auth/scopes.js";
import { type Fleet, type Instance, openFleet, PUBLIC_URL } from "./support.js";

let fleet: Fleet;
let api: Instance;
let below: Instance;
const SERVER = "/.well-known/oauth-authorization-server";
const RESOURCE = "/.well-known/oauth-protected-resource";

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
  below = await fleet.open({ env: { PUBLIC_URL: `${PUBLIC_URL}/gatehouse` } });
});
afterAll(() => fleet.close());

const read = async (url: string, instance = api) => {
  const response = await instance.app.inject({ url });
  expect([url, response.statusCode]).toEqual([url, 200]);
  expect(response.headers).toMatchObject({
    "content-type": expect.stringMatching(/^application\/json/),
    "cache-control": "public, max-age=300",
  });
  return response.json();
};

describe("the metadata of the authorization server (RFC 8414)", () => {
  test("says what is so", async () => {
    const metadata = await read(SERVER);
    expect(metadata).toMatchObject({
      issuer: PUBLIC_URL,
      grant_types_supported: ["client_credentials", "password"],
      response_types_supported: [],
      scopes_supported: ["service", ...ALL_SCOPES],
      protected_resources: [`${PUBLIC_URL}/api/`],
    });
    const pathOf = (url: string): string => url.slice(PUBLIC_URL.length);
    for (const name of ["token_endpoint", "introspection_endpoint", "revocation_endpoint"]) {
      expect(metadata[name]).toMatch(/^https:\/\/gatehouse\.example\/oauth\//);
      const { status, body } = await api.post({}, { url: pathOf(metadata[name]) });
      expect([name, [400, 401].includes(status), typeof body["error"]]).toEqual([name, true, "string"]);
    }
    const keys = await api.app.inject({ url: pathOf(metadata.jwks_uri) });
    expect(keys.json().keys).toHaveLength(1);
    for (const endpoint of ["token", "introspection", "revocation"]) {
      expect(metadata[`${endpoint}_endpoint_auth_methods_supported`]).toEqual([
        ...["client_secret_basic", "client_secret_post", "private_key_jwt"],
      ]);
      expect(metadata[`${endpoint}_endpoint_auth_signing_alg_values_supported`]).toContain("ES256");
    }
  });

  test("stands between host and path, where the public URL has a path", async () => {
    for (const url of [SERVER, `${SERVER}/gatehouse`]) {
      expect(await read(url, below)).toMatchObject({
        ...{ issuer: `${PUBLIC_URL}/gatehouse`, token_endpoint: `${PUBLIC_URL}/gatehouse/oauth/token` },
      });
    }
  });
});

describe("the metadata of the protected resource (RFC 9728)", () => {
  test("names an audience that tokens can be got for", async () => {
    const metadata = await read(RESOURCE);
    expect(metadata).toMatchObject({
      ...{ resource: `${PUBLIC_URL}/api/`, authorization_servers: [PUBLIC_URL] },
      ...{ bearer_methods_supported: ["header"], dpop_bound_access_tokens_required: false },
    });
    expect(await read(`${RESOURCE}/api/`)).toEqual(metadata);
    const token = await api.token(fleet.admin, { resource: metadata.resource });
    expect((await api.call(token)).status).toBe(200);
  });

  test("is where every challenge says that it is", async () => {
    for (const headers of [
      { authorization: "" },
      { authorization: "Bearer x.y.z" },
      { authorization: "DPoP x.y.z" },
    ]) {
      const challenge = String((await api.call("", { headers })).headers["www-authenticate"]);
      const url = /, resource_metadata="([^"]+)"$/.exec(challenge)?.[1] ?? "";
      expect((await read(url.slice(PUBLIC_URL.length))).resource).toBe(`${PUBLIC_URL}/api/`);
    }
  });

  test("follows the path of the public URL", async () => {
    const metadata = await read(`${RESOURCE}/gatehouse/api/`, below);
    expect(metadata.resource).toBe(`${PUBLIC_URL}/gatehouse/api/`);
    const { headers } = await below.call("x.y.z");
    expect(headers["www-authenticate"]).toContain(
      `resource_metadata="${PUBLIC_URL}${RESOURCE}/gatehouse/api/"`,
    );
  });
});
