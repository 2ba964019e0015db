import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { ClientCredentials, ResourceOwnerPassword } from "simple-oauth2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CreatedClient } from "../../src/auth/clients.js";
import { freePort } from "../support/processes.js";
import { type Fleet, type Instance, openFleet, PASSWORD } from "./support.js";

/** Clients that others wrote, over real sockets: plain http, as loopback is. */
let fleet: Fleet;
let api: Instance;
let issuer: string;
let client: CreatedClient;

beforeAll(async () => {
  issuer = `http://127.0.0.1:${await freePort()}`;
  fleet = await openFleet();
  api = await fleet.open({ env: { PUBLIC_URL: issuer } });
  await api.app.listen({ port: Number(new URL(issuer).port), host: "127.0.0.1" });
  client = await fleet.newClient();
});
afterAll(() => fleet.close());

const callProbe = async (token: string) => {
  const response = await fetch(`${issuer}/probe`, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};
const insecure = { [oauth.allowInsecureRequests]: true } as const;

async function discover(): Promise<oauth.AuthorizationServer> {
  const url = new URL(issuer);
  const response = await oauth.discoveryRequest(url, { ...insecure, algorithm: "oauth2" });
  return oauth.processDiscoveryResponse(url, response);
}

type Keys = Awaited<ReturnType<typeof oauth.generateKeyPair>>;
const newKeys = (): Promise<Keys> => oauth.generateKeyPair("ES256");

/** A client that signs with a key of its own. */
async function newKeyClient({ publicKey }: Keys): Promise<oauth.Client> {
  const { id, clientId } = await fleet.newClient();
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
  await fleet.prisma.apiClient.update({
    where: { id },
    data: { jwks: { keys: [{ kty, crv, x, y }] } as object, secrets: { deleteMany: {} } },
  });
  return { client_id: clientId };
}

describe("oauth4webapi", () => {
  test.each([
    ["client_secret_basic", oauth.ClientSecretBasic],
    ["client_secret_post", oauth.ClientSecretPost],
  ])("gets a token, calls a route, introspects and revokes (%s)", async (_name, method) => {
    const server = await discover();
    const who = { client_id: client.clientId };
    const auth = method(client.clientSecret);
    const answer = await oauth.clientCredentialsGrantRequest(
      server,
      who,
      auth,
      { resource: `${issuer}/api/` },
      insecure,
    );
    const { access_token, expires_in } = await oauth.processClientCredentialsResponse(server, who, answer);
    expect(expires_in).toBe(3_600);
    expect((await callProbe(access_token)).body).toMatchObject({ kind: "client", id: client.id });

    const asked = await oauth.introspectionRequest(server, who, auth, access_token, insecure);
    const said = await oauth.processIntrospectionResponse(server, who, asked);
    expect(said).toMatchObject({ active: true, client_id: client.clientId, token_type: "Bearer" });

    await oauth.processRevocationResponse(
      await oauth.revocationRequest(server, who, auth, access_token, insecure),
    );
    expect((await callProbe(access_token)).status).toBe(401);
    const again = await oauth.introspectionRequest(server, who, auth, access_token, insecure);
    expect(await oauth.processIntrospectionResponse(server, who, again)).toEqual({ active: false });
  });

  test("authenticates with a key of its own, at all three endpoints", async () => {
    const server = await discover();
    const keys = await newKeys();
    const who = await newKeyClient(keys);
    const auth = oauth.PrivateKeyJwt(keys.privateKey);
    const answer = await oauth.clientCredentialsGrantRequest(server, who, auth, {}, insecure);
    const { access_token } = await oauth.processClientCredentialsResponse(server, who, answer);
    expect((await callProbe(access_token)).status).toBe(200);
    const asked = await oauth.introspectionRequest(server, who, auth, access_token, insecure);
    expect(await oauth.processIntrospectionResponse(server, who, asked)).toMatchObject({ active: true });
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(server, who, auth, access_token, insecure),
    );
    expect((await callProbe(access_token)).status).toBe(401);
  });

  test("binds its token to a key, and calls a route with it", async () => {
    const server = await discover();
    const who: oauth.Client = { client_id: client.clientId };
    const DPoP = oauth.DPoP(who, await newKeys());
    const auth = oauth.ClientSecretPost(client.clientSecret);
    const answer = await oauth.clientCredentialsGrantRequest(server, who, auth, {}, { DPoP, ...insecure });
    const { access_token, token_type } = await oauth.processClientCredentialsResponse(server, who, answer);
    expect(token_type).toBe("dpop");
    const call = () =>
      oauth.protectedResourceRequest(access_token, "GET", new URL(`${issuer}/probe`), undefined, null, {
        ...{ DPoP, ...insecure },
      });
    for (let time = 0; time < 2; time += 1) expect((await call()).status).toBe(200);
    expect((await callProbe(access_token)).status).toBe(401);
  });

  test("understands what is wrong", async () => {
    const server = await discover();
    const who = { client_id: client.clientId };
    const answer = await oauth.clientCredentialsGrantRequest(
      server,
      who,
      oauth.ClientSecretPost("wrong"),
      {},
      insecure,
    );
    await expect(oauth.processClientCredentialsResponse(server, who, answer)).rejects.toBeInstanceOf(
      oauth.WWWAuthenticateChallengeError,
    );
    const scope = { scope: "job:fly" };
    const auth = oauth.ClientSecretPost(client.clientSecret);
    const refused = await oauth.clientCredentialsGrantRequest(server, who, auth, scope, insecure);
    await expect(oauth.processClientCredentialsResponse(server, who, refused)).rejects.toMatchObject({
      ...{ error: "invalid_scope", status: 400 },
    });
  });

  test("finds the metadata of the api from its address", async () => {
    const resource = new URL(`${issuer}/api/`);
    const answer = await oauth.resourceDiscoveryRequest(resource, insecure);
    const metadata = await oauth.processResourceDiscoveryResponse(resource, answer);
    expect(metadata.authorization_servers).toEqual([issuer]);
  });
});

describe("openid-client", () => {
  const options = { algorithm: "oauth2", execute: [openid.allowInsecureRequests] } as const;

  test("discovers, gets a token, calls a route, introspects and revokes", async () => {
    const config = await openid.discovery(new URL(issuer), client.clientId, client.clientSecret, undefined, {
      ...options,
      execute: [...options.execute],
    });
    const { access_token, scope } = await openid.clientCredentialsGrant(config, {
      scope: "job:read job:write",
    });
    expect(scope).toBe("job:read job:write");
    const probe = await openid.fetchProtectedResource(
      config,
      access_token,
      new URL(`${issuer}/probe`),
      "GET",
    );
    expect(await probe.json()).toMatchObject({ scopes: ["job:read", "job:write"] });
    expect(await openid.tokenIntrospection(config, access_token)).toMatchObject({ active: true });
    await openid.tokenRevocation(config, access_token);
    expect(await openid.tokenIntrospection(config, access_token)).toEqual({ active: false });
  });

  test("signs assertions, and binds tokens to a key", async () => {
    const keys = await newKeys();
    const { client_id } = await newKeyClient(keys);
    const config = await openid.discovery(
      new URL(issuer),
      client_id,
      undefined,
      openid.PrivateKeyJwt(keys.privateKey),
      {
        ...options,
        execute: [...options.execute],
      },
    );
    const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair("ES256"));
    const { access_token, token_type } = await openid.clientCredentialsGrant(config, {}, { DPoP });
    expect(token_type).toBe("dpop");
    const url = new URL(`${issuer}/probe`);
    const probe = await openid.fetchProtectedResource(config, access_token, url, "GET", null, undefined, {
      DPoP,
    });
    expect(probe.status).toBe(200);
  });

  test("takes the password grant, where it is allowed", async () => {
    const { username } = await fleet.newUser();
    const allowed = await fleet.newClient({ grantTypes: ["password"] });
    const config = await openid.discovery(
      new URL(issuer),
      allowed.clientId,
      allowed.clientSecret,
      undefined,
      {
        ...options,
        execute: [...options.execute],
      },
    );
    const parameters = { username, password: PASSWORD };
    const { access_token } = await openid.genericGrantRequest(config, "password", parameters);
    expect((await callProbe(access_token)).body).toMatchObject({ kind: "user", name: username });
  });
});

describe("simple-oauth2", () => {
  const auth = () => ({ tokenHost: issuer, tokenPath: "/oauth/token", revokePath: "/oauth/revoke" });

  test.each(["header", "body"] as const)(
    "gets a token, calls a route and revokes it (credentials in the %s)",
    async (authorizationMethod) => {
      const simple = new ClientCredentials({
        client: { id: client.clientId, secret: client.clientSecret },
        auth: auth(),
        options: { authorizationMethod },
      });
      const token = await simple.getToken({ scope: ["job:read", "run:read"] });
      expect(token.token["scope"]).toBe("run:read job:read");
      const text = String(token.token["access_token"]);
      expect((await callProbe(text)).status).toBe(200);
      await token.revoke("access_token");
      expect((await callProbe(text)).status).toBe(401);
    },
  );

  test("takes the password grant", async () => {
    const { email } = await fleet.newUser();
    const allowed = await fleet.newClient({ grantTypes: ["password"] });
    const simple = new ResourceOwnerPassword({
      client: { id: allowed.clientId, secret: allowed.clientSecret },
      auth: auth(),
    });
    const { token } = await simple.getToken({ username: email, password: PASSWORD, scope: "job:read" });
    expect((await callProbe(String(token["access_token"]))).body["kind"]).toBe("user");
  });
});
