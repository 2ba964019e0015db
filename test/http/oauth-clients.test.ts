import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hashedSecret } from "../../src/auth/clients.js";
import { newId } from "../../src/platform/ids.js";
import { type Harness, openHarness } from "../auth/harness.js";
import { basic, credentials, FORM, post, postJson } from "../auth/token-requests.js";

let h: Harness;

beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

describe("client authentication", () => {
  test("works in the body and in HTTP Basic, form-encoded there (RFC 6749 section 2.3.1)", async () => {
    // The administrator's secret holds a plus sign, a space, a slash and an equal sign.
    const { clientId, clientSecret } = h.admin;
    expect((await h.postForm(credentials(h))).statusCode).toBe(200);
    expect((await postJson(h, credentials(h))).statusCode).toBe(200);
    const grant = { grant_type: "client_credentials" };
    expect((await h.postForm(grant, basic(clientId, clientSecret))).statusCode).toBe(200);
    expect((await postJson(h, grant, basic(clientId, clientSecret))).statusCode).toBe(200);
    const plus = { authorization: basic(clientId, clientSecret).authorization.replace("Basic", "bAsIc") };
    expect((await h.postForm({ ...grant, client_id: clientId }, plus)).statusCode).toBe(200);
    const formEncoded = `${clientId}:${new URLSearchParams({ s: clientSecret }).toString().slice(2)}`;
    const authorization = `Basic ${Buffer.from(formEncoded).toString("base64")}`;
    expect((await h.postForm(grant, { authorization })).statusCode).toBe(200);
  });

  test("works with a plus sign that a careless client did not encode", async () => {
    const client = await h.newClient({ clientSecret: "abc+def/ghi=jkl+mno" });
    const body = `grant_type=client_credentials&client_id=${client.clientId}&client_secret=${client.clientSecret}`;
    expect((await post(h, body, FORM)).statusCode).toBe(200);
    const authorization = `Basic ${Buffer.from(`${client.clientId}:${client.clientSecret}`).toString("base64")}`;
    expect((await post(h, "grant_type=client_credentials", FORM, { authorization })).statusCode).toBe(200);
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
        const { statusCode, body, headers } = await h.postForm(credentials(h, each));
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
    expect((await h.postForm(credentials(h, client))).statusCode).toBe(401);
  });

  test("accepts a secret that was added and a client that was enabled a moment ago", async () => {
    const client = await h.newClient();
    await h.tokenOf(client);
    const { id } = await h.prisma.apiClient.findUniqueOrThrow({ where: { clientId: client.clientId } });
    const added = hashedSecret(h.masterKey, "the second secret");
    await h.prisma.apiClientSecret.create({ data: { id: newId(), clientId: id, ...added } });
    expect(
      (await h.postForm(credentials(h, { ...client, clientSecret: "the second secret" }))).statusCode,
    ).toBe(200);
    await h.database.query("UPDATE api_clients SET disabled_at = now() WHERE id = $1", [id]);
    await h.records.reload(client.clientId);
    expect((await h.postForm(credentials(h, client))).statusCode).toBe(401);
    await h.database.query("UPDATE api_clients SET disabled_at = NULL WHERE id = $1", [id]);
    expect((await h.postForm(credentials(h, client))).statusCode).toBe(200);
  });

  test("grants only what the client may use", async () => {
    const client = await h.newClient({ grantTypes: ["password"] });
    const response = await h.postForm(credentials(h, client));
    expect([response.statusCode, response.json().error]).toEqual([400, "unauthorized_client"]);
  });
});
