import { createHmac } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CreatedClient } from "../../src/auth/clients.js";
import { ASSERTION_TYPE, assertion, type KeyPair, newKeyPair } from "./proofs.js";
import { claimsOf, type Fleet, type Form, type Instance, openFleet, PUBLIC_URL } from "./support.js";

let fleet: Fleet;
let api: Instance;
let other: Instance;
const pair = newKeyPair();
let client: CreatedClient;

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
  other = await fleet.open();
  client = await newKeyClient(pair);
});
afterAll(() => fleet.close());

/** A client with public keys; without a secret where it is said. */
async function newKeyClient(
  keys: KeyPair,
  { secret = false, kid }: { secret?: boolean; kid?: string } = {},
): Promise<CreatedClient> {
  const made = await fleet.newClient();
  const jwks = { keys: [{ ...keys.publicJwk, ...(kid === undefined ? {} : { kid }) }] };
  await fleet.prisma.apiClient.update({ where: { id: made.id }, data: { jwks: jwks as object } });
  if (!secret) await fleet.prisma.apiClientSecret.deleteMany({ where: { clientId: made.id } });
  return made;
}

const ask = (client_assertion: string, more: Form = {}, instance = api, url = "/oauth/token") =>
  instance.post(
    { grant_type: "client_credentials", client_assertion_type: ASSERTION_TYPE, client_assertion, ...more },
    { url },
  );
const seconds = (): number => Math.floor(Date.now() / 1_000);

describe("private_key_jwt (RFC 7523)", () => {
  test.each(["ES256", "EdDSA", "RS256"] as const)("gets a token with a key for %s", async (algorithm) => {
    const keys = newKeyPair(algorithm);
    const { clientId } = await newKeyClient(keys);
    const { status, body } = await ask(await assertion(clientId, keys));
    expect(status).toBe(200);
    expect(claimsOf(String(body["access_token"]))["client_id"]).toBe(clientId);
    expect((await api.call(String(body["access_token"]))).status).toBe(200);
  });

  test("takes the issuer or the token URL as audience, alone or in a list, at every endpoint and alias", async () => {
    const audiences = [
      PUBLIC_URL,
      `${PUBLIC_URL}/oauth/token`,
      [PUBLIC_URL],
      ["https://x.example", PUBLIC_URL],
    ];
    for (const aud of audiences) {
      for (const url of ["/oauth/token", "/organizations/oauth/token"]) {
        expect((await ask(await assertion(client.clientId, pair, { aud }), {}, api, url)).status).toBe(200);
      }
    }
    const token = await api.token(fleet.admin);
    for (const url of ["/oauth/introspect", "/oauth/revoke"]) {
      const reply = await ask(await assertion(client.clientId, pair), { token }, api, url);
      expect([url, reply.status]).toEqual([url, 200]);
    }
  });

  test("knows its own address where the public URL has a path", async () => {
    const below = await fleet.open({ env: { PUBLIC_URL: `${PUBLIC_URL}/gatehouse` } });
    for (const [aud, status] of [
      [`${PUBLIC_URL}/gatehouse`, 200],
      [`${PUBLIC_URL}/gatehouse/oauth/token`, 200],
      [`${PUBLIC_URL}/oauth/token`, 401],
    ] as const) {
      const reply = await ask(await assertion(client.clientId, pair, { aud }), {}, below);
      expect([aud, reply.status]).toEqual([aud, status]);
    }
    await below.close();
  });

  test("works beside a secret, where the client has one, and a secret beside it", async () => {
    const both = await newKeyClient(pair, { secret: true });
    expect((await ask(await assertion(both.clientId, pair))).status).toBe(200);
    expect((await api.token(both)).split(".")).toHaveLength(3);
    await expect(api.token(client)).rejects.toThrow("invalid_client");
  });

  test("takes a client_id that is the same, and none that is another", async () => {
    const same = await ask(await assertion(client.clientId, pair), { client_id: client.clientId });
    expect(same.status).toBe(200);
    const another = await ask(await assertion(client.clientId, pair), { client_id: fleet.admin.clientId });
    expect([another.status, another.body["error"]]).toEqual([400, "invalid_request"]);
  });

  test("finds the key by its kid among several", async () => {
    const [first, second] = [newKeyPair(), newKeyPair()];
    const several = await newKeyClient(first, { kid: "first" });
    const keys = [
      { ...first.publicJwk, kid: "first" },
      { ...second.publicJwk, kid: "second" },
    ];
    await fleet.prisma.apiClient.update({ where: { id: several.id }, data: { jwks: { keys } as object } });
    for (const [each, kid] of [
      [first, "first"],
      [second, "second"],
    ] as const) {
      expect((await ask(await assertion(several.clientId, each, {}, { kid }))).status).toBe(200);
    }
    expect((await ask(await assertion(several.clientId, second, {}, { kid: "first" }))).status).toBe(401);
  });

  test("goes by the client's keys as they are now", async () => {
    const [before, after] = [newKeyPair(), newKeyPair()];
    const rotating = await newKeyClient(before);
    expect((await ask(await assertion(rotating.clientId, before))).status).toBe(200);
    await fleet.prisma.apiClient.update({
      where: { id: rotating.id },
      data: { jwks: { keys: [after.publicJwk] } as object },
    });
    api.access.records.forget(rotating.clientId);
    expect((await ask(await assertion(rotating.clientId, before))).status).toBe(401);
    expect((await ask(await assertion(rotating.clientId, after))).status).toBe(200);
  });
});

describe("an assertion is good once", () => {
  test("also for another endpoint, another process, and after a restart", async () => {
    const used = await assertion(client.clientId, pair);
    expect((await ask(used)).status).toBe(200);
    const token = await api.token(fleet.admin);
    const restarted = await fleet.open();
    for (const again of [
      ask(used),
      ask(used, { token }, api, "/oauth/introspect"),
      ask(used, {}, other),
      ask(used, {}, restarted),
    ]) {
      const { status, body } = await again;
      expect([status, body["error"]]).toEqual([401, "invalid_client"]);
    }
    await restarted.close();
  });

  test("however many come at the same moment, in however many processes", async () => {
    const used = await assertion(client.clientId, pair);
    const tries = Array.from({ length: 20 }, (_, index) => ask(used, {}, index % 2 === 0 ? api : other));
    const statuses = (await Promise.all(tries)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
  });

  test("per client: two clients may choose the same id", async () => {
    const [keys, jti] = [newKeyPair(), "the same id"];
    const second = await newKeyClient(keys);
    expect((await ask(await assertion(client.clientId, pair, { jti }))).status).toBe(200);
    expect((await ask(await assertion(second.clientId, keys, { jti }))).status).toBe(200);
  });

  test("and not used up by a request that was not the client's", async () => {
    const good = await assertion(client.clientId, pair);
    const forged = `${good.slice(0, good.lastIndexOf("."))}.${"A".repeat(86)}`;
    expect((await ask(forged)).status).toBe(401);
    expect((await ask(good)).status).toBe(200);
  });
});

describe("an assertion is refused", () => {
  test.each<[string, Record<string, unknown>]>([
    ["for another audience", { aud: "https://elsewhere.example" }],
    ["for the alias of the token URL", { aud: `${PUBLIC_URL}/organizations/oauth/token` }],
    ["without an audience", { aud: undefined }],
    ["of another issuer", { iss: "https://elsewhere.example" }],
    ["without an id", { jti: undefined }],
    ["that has expired", { exp: seconds() - 60 }],
    ["that never expires", { exp: undefined }],
    ["that expires in a day", { exp: seconds() + 86_400 }],
    ["that is not valid yet", { nbf: seconds() + 120 }],
  ])("%s", async (_name, change) => {
    const { status, body, headers } = await ask(await assertion(client.clientId, pair, change));
    expect([status, body["error"]]).toEqual([401, "invalid_client"]);
    expect(headers["www-authenticate"]).toMatch(/^Basic /);
  });

  test("of another client, signed with a key of one's own", async () => {
    expect((await ask(await assertion(fleet.admin.clientId, pair))).status).toBe(401);
    const keys = newKeyPair();
    const victim = await newKeyClient(keys);
    expect((await ask(await assertion(victim.clientId, pair))).status).toBe(401);
  });

  test("that is not signed, or with what everybody knows", async () => {
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const good = claimsOf(await assertion(client.clientId, pair));
    const unsigned = `${encode({ alg: "none" })}.${encode(good)}.`;
    const input = `${encode({ alg: "HS256" })}.${encode(good)}`;
    const secret = JSON.stringify(pair.publicJwk);
    const symmetric = `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
    for (const forged of [unsigned, symmetric]) {
      const { status, body } = await ask(forged);
      expect([status, body["error"]]).toEqual([401, "invalid_client"]);
    }
  });

  test.each<[string, Form]>([
    ["of no type", { client_assertion_type: "" }],
    [
      "of another type",
      { client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer" },
    ],
    ["beside a secret", { client_secret: "a secret" }],
    ["that is no JWT", { client_assertion: "nonsense" }],
  ])("%s", async (_name, more) => {
    const { status, body } = await ask(await assertion(client.clientId, pair), more);
    expect([status, body["error"]]).toEqual([400, "invalid_request"]);
  });

  test("of a client that is disabled, or has no keys any more", async () => {
    const disabled = await newKeyClient(pair);
    await fleet.prisma.apiClient.update({ where: { id: disabled.id }, data: { disabledAt: new Date() } });
    expect((await ask(await assertion(disabled.clientId, pair))).status).toBe(401);
    const plain = await fleet.newClient();
    expect((await ask(await assertion(plain.clientId, pair))).status).toBe(401);
  });
});
