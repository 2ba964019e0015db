import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/until.js";
import { type Credentials, type Fleet, type Form, type Instance, openFleet, type Reply } from "./support.js";

let fleet: Fleet;
let api: Instance;

beforeAll(async () => {
  fleet = await openFleet();
  // Time stands still: no window of a minute ends amid a test.
  const now = new Date(Math.floor(Date.now() / 60_000) * 60_000 + 1_000);
  api = await fleet.open({
    clock: { now: () => now },
    env: { RATE_LIMIT_TOKENS_PER_CLIENT: "5", RATE_LIMIT_TOKENS_PER_ADDRESS: "12", RATE_LIMIT_FAILURES: "4" },
  });
});
afterAll(() => fleet.close());

/** Each test comes from somewhere else. */
let host = 0;
const elsewhere = (): string => {
  host += 1;
  return `10.0.0.${host}`;
};

const body = ({ clientId, clientSecret }: Credentials): Form => ({
  ...{ grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret },
});

/** Sends a form from an address. */
async function from(remoteAddress: string, form: Form, url = "/oauth/token"): Promise<Reply> {
  const response = await api.app.inject({
    ...{ method: "POST", url, remoteAddress, payload: new URLSearchParams(form).toString() },
    headers: { "content-type": "application/x-www-form-urlencoded" },
  });
  const { statusCode: status, headers, body: text } = response;
  return { status, headers, text, body: text.startsWith("{") ? JSON.parse(text) : {} };
}

function expectLimited({ status, headers, body: said }: Reply): void {
  expect(status).toBe(429);
  expect(said).toEqual({ error: "temporarily_unavailable", error_description: expect.any(String) });
  const wait = Number(headers["retry-after"]);
  expect(wait).toBeGreaterThanOrEqual(1);
  expect(wait).toBeLessThanOrEqual(60);
  expect(headers).toMatchObject({
    "cache-control": "no-store",
    "content-type": expect.stringContaining("json"),
  });
}

describe("token requests", () => {
  test("of one client are limited, in the words of OAuth, and say how many are left", async () => {
    const [client, other, address] = [await fleet.newClient(), await fleet.newClient(), elsewhere()];
    const replies: Reply[] = [];
    while (replies.length < 5) replies.push(await from(address, body(client)));
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(replies.at(-1)?.headers["ratelimit"]).toMatch(/^"tokens-of-client";r=0;t=\d+$/);
    expectLimited(await from(address, body(client)));
    expect((await from(address, body(other))).status).toBe(200);
    // Nobody uses up the quota of somebody else's client.
    expect((await from(elsewhere(), body(client))).status).toBe(200);
  });

  test("of one address are limited, whichever clients they name", async () => {
    const address = elsewhere();
    const clients = [await fleet.newClient(), await fleet.newClient(), await fleet.newClient()];
    for (let time = 0; time < 12; time += 1) {
      const client = clients[time % 3] ?? fleet.admin;
      expect((await from(address, body(client))).status).toBe(200);
    }
    expectLimited(await from(address, body(fleet.admin)));
  });

  test("are counted per client, and per address and failure in the audit log of whose client was tried", async () => {
    const client = await fleet.newClient();
    const address = elsewhere();
    for (let time = 0; time < 3; time += 1) await from(address, body(client));
    await from(address, { ...body(client), client_secret: "wrong" });
    await until("three tokens are counted", async () => {
      const rows = await fleet.prisma.tokenCount.findMany({ where: { clientId: client.id } });
      return rows.reduce((sum, { count }) => sum + count, 0) === 3;
    });
    const { lastUsedAt } = await fleet.prisma.apiClient.findUniqueOrThrow({ where: { id: client.id } });
    expect(lastUsedAt).not.toBeNull();
    const event = await until("the failure is written down", () =>
      fleet.prisma.auditEvent.findFirst({ where: { action: "token.refused", actorName: client.clientId } }),
    );
    expect(event).toMatchObject({ organizationId: fleet.organizationId, address, outcome: "failure" });
  });
});

describe("failed credentials", () => {
  test.each(["/oauth/token", "/oauth/introspect", "/oauth/revoke"])(
    "of one address are limited at %s, also when it then has the right ones",
    async (url) => {
      const [client, address] = [await fleet.newClient(), elsewhere()];
      const token = await api.token(client);
      const wrong = { ...body(client), client_secret: "wrong", token };
      for (let time = 0; time < 4; time += 1) expect((await from(address, wrong, url)).status).toBe(401);
      expectLimited(await from(address, wrong, url));
      expectLimited(await from(address, { ...body(client), token }, url));
      expect((await from(elsewhere(), { ...body(client), token }, url)).status).toBe(200);
    },
  );

  test("do not keep those out who are told tokens all day", async () => {
    const [client, address] = [await fleet.newClient(), elsewhere()];
    const token = await api.token(client);
    for (let time = 0; time < 30; time += 1) {
      const { body: said } = await from(address, { ...body(client), token }, "/oauth/introspect");
      expect(said["active"]).toBe(true);
    }
  });
});
