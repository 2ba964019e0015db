import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type KeyPair, newKeyPair, proof, thumbprint, tokenProof } from "./proofs.js";
import {
  claimsOf,
  type Fleet,
  type Form,
  type Instance,
  openFleet,
  PUBLIC_URL,
  type Reply,
} from "./support.js";

let fleet: Fleet;
let api: Instance;
let other: Instance;
const pair = newKeyPair();

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open();
  other = await fleet.open();
});
afterAll(() => fleet.close());

const request = (): Form => ({
  grant_type: "client_credentials",
  client_id: fleet.admin.clientId,
  client_secret: fleet.admin.clientSecret,
});
const ask = (dpop: string, more: Form = {}, url = "/oauth/token") =>
  api.post({ ...request(), ...more }, { url, headers: { dpop } });

async function boundToken(keys: KeyPair = pair): Promise<string> {
  return String((await ask(await tokenProof(keys))).body["access_token"]);
}

const use = (token: string, dpop: string | null, instance = api, scheme = "DPoP"): Promise<Reply> =>
  instance.call(token, {
    headers: { authorization: `${scheme} ${token}`, ...(dpop === null ? {} : { dpop }) },
  });
const seconds = (): number => Math.floor(Date.now() / 1_000);

describe("a token request with a proof (RFC 9449 section 5)", () => {
  test.each(["ES256", "EdDSA"] as const)("gets a token that is bound to its key (%s)", async (algorithm) => {
    const keys = newKeyPair(algorithm);
    const { status, body } = await ask(await tokenProof(keys));
    expect([status, body["token_type"]]).toEqual([200, "DPoP"]);
    expect(claimsOf(String(body["access_token"]))["cnf"]).toEqual({ jkt: await thumbprint(keys) });
  });

  test("names the canonical URL, whichever path is called", async () => {
    const url = "/organizations/oauth/token";
    expect((await ask(await tokenProof(pair), {}, url)).status).toBe(200);
    const alias = await ask(await tokenProof(pair, { htu: PUBLIC_URL + url }), {}, url);
    expect([alias.status, alias.body["error"]]).toEqual([400, "invalid_dpop_proof"]);
  });

  test("without one gets a bearer token; a client that must be bound gets none", async () => {
    expect((await api.post(request())).body["token_type"]).toBe("Bearer");
    const bound = await fleet.newClient();
    await fleet.prisma.apiClient.update({ where: { id: bound.id }, data: { dpopBound: true } });
    const form = { ...request(), client_id: bound.clientId, client_secret: bound.clientSecret };
    const refused = await api.post(form);
    expect([refused.status, refused.body["error"]]).toEqual([400, "invalid_dpop_proof"]);
    const granted = await api.post(form, { headers: { dpop: await tokenProof(pair) } });
    expect(granted.body["token_type"]).toBe("DPoP");
  });

  test("uses it up, and only when everything else is right", async () => {
    const once = await tokenProof(pair);
    expect((await ask(once, { scope: "job:fly" })).body["error"]).toBe("invalid_scope");
    expect((await ask(once)).status).toBe(200);
    const again = await ask(once);
    expect([again.status, again.body["error"]]).toEqual([400, "invalid_dpop_proof"]);
  });

  test.each<[string, () => Promise<string>]>([
    ["for another method", () => tokenProof(pair, { htm: "GET" })],
    ["for another address", () => tokenProof(pair, { htu: "https://elsewhere.example/oauth/token" })],
    ["of the past", () => tokenProof(pair, { iat: seconds() - 600 })],
    ["that is no JWT", async () => "nonsense"],
    ["that comes twice", async () => `${await tokenProof(pair)}, ${await tokenProof(pair)}`],
  ])("%s gets none", async (_name, make) => {
    const { status, body } = await ask(await make());
    expect([status, body["error"]]).toEqual([400, "invalid_dpop_proof"]);
  });
});

describe("a bound token (RFC 9449 section 7)", () => {
  test("opens a route with a proof of its key, made for this very request", async () => {
    const token = await boundToken();
    for (let time = 0; time < 3; time += 1) {
      expect((await use(token, await proof(pair, { accessToken: token }))).status).toBe(200);
    }
  });

  test("goes by the address that clients know, without query, in whatever spelling", async () => {
    const token = await boundToken();
    const upper = `${PUBLIC_URL.replace("https://gatehouse", "HTTPS://Gatehouse")}:443/probe?x=1#y`;
    const headers = async (htu: string) => ({
      authorization: `dpop ${token}`,
      dpop: await proof(pair, { accessToken: token, htu }),
      host: "internal:8080",
    });
    const url = "/probe?limit=5";
    expect((await api.call(token, { url, headers: await headers(upper) })).status).toBe(200);
    expect(
      (await api.call(token, { url, headers: await headers("http://internal:8080/probe") })).status,
    ).toBe(401);
  });

  test("sent as a bearer token is refused: whoever stole it has no use for it", async () => {
    const token = await boundToken();
    const good = await proof(pair, { accessToken: token });
    for (const dpop of [null, good]) {
      const { status, headers } = await use(token, dpop, api, "Bearer");
      expect(status).toBe(401);
      expect(headers["www-authenticate"]).toMatch(/^DPoP error="invalid_token", .*algs="ES256 /);
    }
  });

  test("an unbound token is refused under the scheme DPoP", async () => {
    const token = await api.token(fleet.admin);
    const { status, headers } = await use(token, await proof(pair, { accessToken: token }));
    expect(status).toBe(401);
    expect(headers["www-authenticate"]).toMatch(/^DPoP error="invalid_token", /);
  });

  const forged = (): [string, (token: string) => Promise<string | null>][] => [
    ["without a proof", async () => null],
    ["with an empty proof", async () => ""],
    ["with a proof of another key", (token) => proof(newKeyPair(), { accessToken: token })],
    [
      "with a proof that shows the key and is signed with another",
      (token) => proof({ ...newKeyPair(), publicJwk: pair.publicJwk }, { accessToken: token }),
    ],
    ["with a proof for another method", (token) => proof(pair, { accessToken: token, htm: "POST" })],
    [
      "with a proof for another path",
      (token) => proof(pair, { accessToken: token, htu: `${PUBLIC_URL}/api/v1/jobs` }),
    ],
    [
      "with a proof for another host",
      (token) => proof(pair, { accessToken: token, htu: "https://evil.example/probe" }),
    ],
    ["with a proof of no token", () => proof(pair)],
    ["with a proof of another token", () => proof(pair, { accessToken: "another" })],
    ["with a proof of the past", (token) => proof(pair, { accessToken: token, iat: seconds() - 120 })],
    ["with a proof of the future", (token) => proof(pair, { accessToken: token, iat: seconds() + 120 })],
    ["with a proof without a time", (token) => proof(pair, { accessToken: token, iat: undefined })],
    ["with a proof without an id", (token) => proof(pair, { accessToken: token, jti: undefined })],
    ["with a proof of another type", (token) => proof(pair, { accessToken: token }, { typ: "JWT" })],
    ["with a proof that has no key", (token) => proof(pair, { accessToken: token }, { jwk: undefined })],
    [
      "with a proof whose key is private",
      (token) => proof(pair, { accessToken: token }, { jwk: pair.privateKey.export({ format: "jwk" }) }),
    ],
    [
      "with a proof signed under another algorithm",
      (token) => proof({ ...newKeyPair("RS256"), algorithm: "RS256" }, { accessToken: token }),
    ],
  ];

  test.each(forged())("%s is refused", async (_name, make) => {
    const token = await boundToken();
    const { status, headers } = await use(token, await make(token));
    expect(status).toBe(401);
    expect(headers["www-authenticate"]).toMatch(
      /^DPoP error="(invalid_dpop_proof|invalid_token)", error_description="[ -!#-[\]-~]+", algs="/,
    );
    // The same token with a good proof is good.
    expect((await use(token, await proof(pair, { accessToken: token }))).status).toBe(200);
  });

  test("needs a new proof for each request, in whichever process", async () => {
    const token = await boundToken();
    const once = await proof(pair, { accessToken: token });
    expect((await use(token, once)).status).toBe(200);
    for (const instance of [api, other]) {
      const { status, headers } = await use(token, once, instance);
      expect(status).toBe(401);
      expect(headers["www-authenticate"]).toContain('error="invalid_dpop_proof"');
    }
    const raced = await proof(pair, { accessToken: token });
    const tries = Array.from({ length: 10 }, (_, index) => use(token, raced, index % 2 === 0 ? api : other));
    const statuses = (await Promise.all(tries)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
  });

  test("is shown as such by introspection", async () => {
    const token = await boundToken();
    const { body } = await api.post(
      { token, client_id: fleet.admin.clientId, client_secret: fleet.admin.clientSecret },
      { url: "/oauth/introspect" },
    );
    expect(body).toMatchObject({ active: true, token_type: "DPoP", cnf: { jkt: await thumbprint(pair) } });
  });

  test("ends like any other when its client is disabled", async () => {
    const client = await fleet.newClient();
    const token = await api.token(client, {}, { dpop: await tokenProof(pair) });
    await fleet.prisma.apiClient.update({
      where: { id: client.id },
      data: { disabledAt: new Date(), generation: { increment: 1 } },
    });
    api.access.records.forget(client.clientId);
    const { status, headers } = await use(token, await proof(pair, { accessToken: token }));
    expect(status).toBe(401);
    expect(headers["www-authenticate"]).toMatch(/^DPoP error="invalid_token", .*revoked/);
  });
});
