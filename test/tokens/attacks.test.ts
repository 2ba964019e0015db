import { createHmac, generateKeyPairSync, type KeyObject } from "node:crypto";
import { SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CreatedClient } from "../../src/auth/clients.js";
import type { Scope } from "../../src/auth/scopes.js";
import { ASSERTION_TYPE, assertion, newKeyPair, proof, tokenProof } from "./proofs.js";
import { type Credentials, claimsOf, type Fleet, type Form, type Instance, openFleet } from "./support.js";

let fleet: Fleet;
let api: Instance;
let victim: CreatedClient;
let good: string;

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
  victim = await fleet.newClient();
  good = await api.token(victim);
});
afterAll(() => fleet.close());

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const basic = ({ clientId, clientSecret }: Credentials) => ({
  authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString("base64")}`,
});
const body = ({ clientId, clientSecret }: Credentials): Form => ({
  ...{ grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret },
});

/** A token of the victim's, changed, signed by whoever makes it. */
async function forge(
  change: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
  key: KeyObject = api.access.keys.active.privateKey,
): Promise<string> {
  return new SignJWT({ ...claimsOf(good), ...change })
    .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: api.access.keys.active.kid, ...header })
    .sign(key);
}

const mine = generateKeyPairSync("ec", { namedCurve: "P-256" });
const seconds = (): number => Math.floor(Date.now() / 1_000);

/** Texts that are no tokens, and look more or less like some. */
const FORGERIES: readonly [string, () => Promise<string>][] = [
  ["signed with one's own key", () => forge({}, {}, mine.privateKey)],
  [
    "that carries one's own key",
    () => forge({}, { jwk: mine.publicKey.export({ format: "jwk" }) }, mine.privateKey),
  ],
  ["that names one's own keys", () => forge({}, { jku: "https://evil.example/jwks" }, mine.privateKey)],
  ["of an unknown kid", () => forge({}, { kid: "unknown" }, mine.privateKey)],
  ["of a kid that walks", () => forge({}, { kid: "../../../../dev/null" }, mine.privateKey)],
  ["expired", () => forge({ exp: seconds() - 60 })],
  ["not valid yet", () => forge({ nbf: seconds() + 60 })],
  ["for another audience", () => forge({ aud: "https://elsewhere.example/" })],
  ["of another issuer", () => forge({ iss: "https://elsewhere.example" })],
  ["of another type", () => forge({}, { typ: "JWT" })],
  [
    "for a resource server that it was not issued for",
    () => forge({ rs: "0190a3f0-6f2e-7c55-9d4b-2f6f1c1f7a10" }),
  ],
  ["for a person that does not exist", () => forge({ ugen: 1, sub: "0190a3f0-6f2e-7c55-9d4b-2f6f1c1f7a10" })],
  ["for a person whose id breaks queries", () => forge({ ugen: 1, sub: "' OR 1=1 --" })],
  ["for an organization whose id breaks queries", () => forge({ org: "'; DROP TABLE users --" })],
  ["bound in a way that nobody understands", () => forge({ cnf: { "x5t#S256": "abc" } })],
  ["bound to nothing", () => forge({ cnf: null })],
  ["of a generation to come", () => forge({ gen: 99 })],
  ["of a generation that is text", () => forge({ gen: "1" })],
  [
    "unsigned (alg none)",
    async () =>
      `${encode({ alg: "none", typ: "at+jwt", kid: api.access.keys.active.kid })}.${encode(claimsOf(good))}.`,
  ],
  [
    "signed as HS256 with the public key",
    async () => {
      const { kid } = api.access.keys.active;
      const input = `${encode({ alg: "HS256", typ: "at+jwt", kid })}.${encode(claimsOf(good))}`;
      const pem = (await api.access.keys.publicPem(kid)) ?? "";
      return `${input}.${createHmac("sha256", pem).update(input).digest("base64url")}`;
    },
  ],
  [
    "of another's signature",
    async () => {
      const other = await api.token(fleet.admin);
      return `${good.slice(0, good.lastIndexOf("."))}.${other.slice(other.lastIndexOf(".") + 1)}`;
    },
  ],
  ["encrypted", async () => "a.b.c.d.e"],
];

describe("a token", () => {
  test("made by these tests as it should be is accepted: the others fail for their change alone", async () => {
    expect((await api.call(await forge())).status).toBe(200);
  });

  test.each(FORGERIES)("%s opens nothing, and is not active", async (_name, make) => {
    const token = await make();
    const { status, headers } = await api.call(token);
    expect(status).toBe(401);
    expect(headers["www-authenticate"]).toMatch(/error="invalid_token"/);
    const said = await api.post({ token, ...body(fleet.admin) }, { url: "/oauth/introspect" });
    expect([said.status, said.body]).toEqual([200, { active: false }]);
  });

  test("that was revoked opens nothing, and no new signature revives it", async () => {
    const token = await api.token(victim);
    await api.post({ token, ...body(victim) }, { url: "/oauth/revoke" });
    expect((await api.call(token)).status).toBe(401);
    const { jti, ...claims } = claimsOf(token);
    expect((await api.call(await forge({ ...claims, jti }))).status).toBe(401);
  });

  test("cannot be revoked by a forgery that has its id", async () => {
    const token = await api.token(victim);
    const forged = await forge(claimsOf(token), {}, mine.privateKey);
    expect((await api.post({ token: forged, ...body(victim) }, { url: "/oauth/revoke" })).status).toBe(200);
    expect((await api.call(token)).status).toBe(200);
  });
});

describe("a secret", () => {
  test("off by one character, in any place, is wrong at every endpoint", async () => {
    const { clientSecret } = victim;
    const wrong = [0, Math.floor(clientSecret.length / 2), clientSecret.length - 1].map((at) => {
      const other = clientSecret[at] === "A" ? "B" : "A";
      return clientSecret.slice(0, at) + other + clientSecret.slice(at + 1);
    });
    for (const secret of [...wrong, `${clientSecret}A`, clientSecret.slice(1), clientSecret.toUpperCase()]) {
      for (const url of ["/oauth/token", "/oauth/introspect", "/oauth/revoke"]) {
        const reply = await api.post({ token: good, ...body({ ...victim, clientSecret: secret }) }, { url });
        expect([url, reply.status, reply.body["error"]]).toEqual([url, 401, "invalid_client"]);
      }
    }
    expect((await api.call(good)).status).toBe(200);
  });

  test("of another client is wrong", async () => {
    const reply = await api.post(body({ clientId: victim.clientId, clientSecret: fleet.admin.clientSecret }));
    expect(reply.status).toBe(401);
  });

  test.each(["/oauth/token", "/oauth/introspect", "/oauth/revoke"])(
    "sent in two ways at once is invalid_request at %s, also where both are right",
    async (url) => {
      for (const more of [
        body(victim),
        { client_assertion: "a.b.c", client_assertion_type: ASSERTION_TYPE },
      ]) {
        const form = { grant_type: "client_credentials", token: good, ...more };
        const { status, body: said } = await api.post(form, { url, headers: basic(victim) });
        expect([status, said["error"]]).toEqual([400, "invalid_request"]);
      }
    },
  );
});

describe("more than was granted", () => {
  const reader = { scopes: new Set<Scope>(["job:read"]) };

  test.each(["job:write", "service", "platform:admin", "production:destructive", "job:read platform:admin"])(
    "is not got by asking for %s",
    async (scope) => {
      const client = await fleet.newClient(reader);
      const { status, body: said } = await api.post({ ...body(client), scope });
      expect([status, said["error"]]).toEqual([400, "invalid_scope"]);
    },
  );

  test("is not got by a token that says so, while its client was never granted it", async () => {
    const client = await fleet.newClient(reader);
    const token = await forge({ client_id: client.clientId, sub: client.clientId, scope: "service" });
    expect((await api.call(token, { method: "POST" })).status).toBe(403);
    expect((await api.call(token)).body["scopes"]).toEqual(["job:read"]);
  });

  test("is not got by asking for it in several ways at once", async () => {
    const client = await fleet.newClient(reader);
    const payload = `${new URLSearchParams(body(client))}&scope=job:read&scope=job:write`;
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const twice = await api.app.inject({
      method: "POST",
      url: "/oauth/token?scope=job:write",
      payload,
      headers,
    });
    expect([twice.statusCode, twice.json().error]).toEqual([400, "invalid_request"]);
    const query = await api.post(body(client), { url: "/oauth/token?scope=job:write&audience=service" });
    expect(query.body["scope"]).toBe("job:read");
  });

  test("is not got by a grant that was not allowed", async () => {
    const client = await fleet.newClient({ ...reader, grantTypes: ["password"] });
    expect((await api.post(body(client))).body["error"]).toBe("unauthorized_client");
    for (const grant_type of ["refresh_token", "authorization_code", "urn:gatehouse:errand", "implicit"]) {
      const { body: said } = await api.post({ ...body(victim), grant_type, code: "x", refresh_token: "x" });
      expect(said["error"]).toBe("unsupported_grant_type");
    }
  });
});

describe("what was used", () => {
  test("is no use again: an assertion, and a proof", async () => {
    const pair = newKeyPair();
    await fleet.prisma.apiClient.update({
      where: { clientId: victim.clientId },
      data: { jwks: { keys: [pair.publicJwk] } as object },
    });
    api.access.records.forget(victim.clientId);
    const form = {
      ...{ grant_type: "client_credentials", client_assertion_type: ASSERTION_TYPE },
      client_assertion: await assertion(victim.clientId, pair),
    };
    const headers = { dpop: await tokenProof(pair) };
    const { body: issued } = await api.post(form, { headers });
    expect((await api.post(form, { headers: { dpop: await tokenProof(pair) } })).status).toBe(401);
    const again = { ...form, client_assertion: await assertion(victim.clientId, pair) };
    expect((await api.post(again, { headers })).body["error"]).toBe("invalid_dpop_proof");
    const token = String(issued["access_token"]);
    const used = { authorization: `DPoP ${token}`, dpop: await proof(pair, { accessToken: token }) };
    expect((await api.call(token, { headers: used })).status).toBe(200);
    expect((await api.call(token, { headers: used })).status).toBe(401);
    // Nor is the token without the key.
    const stolen = {
      authorization: `DPoP ${token}`,
      dpop: await proof(newKeyPair(), { accessToken: token }),
    };
    expect((await api.call(token, { headers: stolen })).status).toBe(401);
    expect((await api.call(token)).status).toBe(401);
  });
});

describe("the log", () => {
  test("holds no secret, password, token, assertion or proof", async () => {
    const pair = newKeyPair();
    const user = await fleet.newUser();
    const secrets = {
      secret: victim.clientSecret,
      password: "a password that is nowhere else",
      token: await api.token(fleet.admin),
      proof: await tokenProof(pair),
      assertion: await assertion(victim.clientId, newKeyPair()),
    };
    const client = await fleet.newClient({ grantTypes: ["password", "client_credentials"] });
    await api.post({
      ...body(client),
      grant_type: "password",
      username: user.username,
      password: secrets.password,
    });
    await api.post(body(victim), { headers: { dpop: secrets.proof } });
    await api.post({
      ...{ grant_type: "client_credentials", client_assertion_type: ASSERTION_TYPE },
      client_assertion: secrets.assertion,
    });
    for (const url of ["/oauth/introspect", "/oauth/revoke"]) {
      await api.post(
        { ...body(fleet.admin), token: secrets.token },
        { url: `${url}?token=${secrets.token}` },
      );
    }
    await api.access.audit.flush();
    const events = await fleet.database.query<{ text: string }>("SELECT e::text AS text FROM audit_events e");
    const written = [...api.log, ...events.map(({ text }) => text)].join("\n");
    for (const [name, text] of Object.entries(secrets))
      expect([name, written.includes(text)]).toEqual([name, false]);
  });
});
