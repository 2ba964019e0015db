import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { queueBackends } from "../support/backends.js";
import { until } from "../support/until.js";
import { type Fleet, type Form, type Instance, openFleet, PASSWORD } from "./support.js";

let fleet: Fleet;

beforeAll(async () => {
  fleet = await openFleet();
});
afterAll(() => fleet.close());

/** Each test comes from somewhere else. */
let host = 0;
const elsewhere = (): string => {
  host += 1;
  return `10.1.0.${host}`;
};

async function post(api: Instance, remoteAddress: string, form: Form, url = "/oauth/token"): Promise<number> {
  const response = await api.app.inject({
    ...{ method: "POST", url, remoteAddress, payload: new URLSearchParams(form).toString() },
    headers: { "content-type": "application/x-www-form-urlencoded" },
  });
  return response.statusCode;
}

describe.each(await queueBackends())("limits of two processes, counted with $name,", ({ env }) => {
  let [here, there]: Instance[] = [];

  beforeAll(async () => {
    // Time stands still: no window of a minute ends amid a test.
    const now = new Date(Math.floor(Date.now() / 60_000) * 60_000 + 1_000);
    const options = {
      clock: { now: () => now },
      env: {
        ...env,
        ...{
          RATE_LIMIT_TOKENS_PER_CLIENT: "6",
          RATE_LIMIT_TOKENS_PER_ADDRESS: "20",
          RATE_LIMIT_FAILURES: "4",
        },
      },
    };
    here = await fleet.open(options);
    there = await fleet.open(options);
  });
  afterAll(async () => {
    await here?.close();
    await there?.close();
  });
  const both = (): [Instance, Instance] => {
    if (here === undefined || there === undefined) throw new Error("not open");
    return [here, there];
  };

  test("are one limit: tokens of a client from an address", async () => {
    const [a, b] = both();
    const [address, { clientId, clientSecret }] = [elsewhere(), await fleet.newClient()];
    const form = { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret };
    for (let time = 0; time < 5; time += 1) expect(await post(a, address, form)).toBe(200);
    // The other one learns of it with its own first count, within a moment.
    expect(await post(b, address, form)).toBe(200);
    await until("the other process refuses, too", async () => (await post(b, address, form)) === 429);
    await until(
      "so does the first, at once or in a moment",
      async () => (await post(a, address, form)) === 429,
    );
    expect(await post(b, elsewhere(), form)).toBe(200);
  });

  test("are one limit: failed credentials of an address", async () => {
    const [a, b] = both();
    const [address, { clientId, clientSecret }] = [elsewhere(), await fleet.newClient()];
    const right = { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret };
    const wrong = { ...right, client_secret: "wrong" };
    for (let time = 0; time < 3; time += 1) expect(await post(a, address, wrong)).toBe(401);
    expect(await post(b, address, wrong)).toBe(401);
    for (const each of [a, b]) {
      await until("the right ones are refused", async () => (await post(each, address, right)) === 429);
    }
  });

  // Each wrong password costs what a right one does: much, for a machine that does other things too.
  test("are one limit: failed logins of an address, whoever it names", { timeout: 240_000 }, async () => {
    const [address, user] = [elsewhere(), await fleet.newUser()];
    let tried = 0;
    for (const api of both()) {
      const refused = async (): Promise<boolean> => {
        const form = { username: `nobody-${tried}`, password: "wrong" };
        if ((await post(api, address, form, "/login")) === 429) return true;
        tried += 1;
        return false;
      };
      await until("a wrong login is refused for its address", refused, 100_000);
      expect(await post(api, address, { username: user.username, password: PASSWORD }, "/login")).toBe(429);
    }
    // Thirty are free; what comes within one exchange comes on top.
    expect(tried).toBeGreaterThanOrEqual(30);
    expect(tried).toBeLessThan(60);
  });

  test("go on being exchanged, and audit events being written, whatever a stranger sends", async () => {
    const [a] = both();
    const bad = ["a\0b", "a\ufffdb", "\0".repeat(300), "x".repeat(4_000), "{\\u0000}", 'a"b'];
    for (const client_id of bad) {
      const form = { grant_type: "client_credentials", client_id, client_secret: "x" };
      expect(await post(a, elsewhere(), form)).toBe(401);
      const basic = Buffer.from(`${encodeURIComponent(client_id)}:x`).toString("base64");
      const { statusCode } = await a.app.inject({
        ...{ method: "POST", url: "/oauth/token", remoteAddress: elsewhere() },
        headers: { authorization: `Basic ${basic}`, "content-type": "application/x-www-form-urlencoded" },
        payload: "grant_type=client_credentials",
      });
      expect([400, 401]).toContain(statusCode);
    }
    const [address, client] = [elsewhere(), await fleet.newClient()];
    const wrong = { grant_type: "client_credentials", client_id: client.clientId, client_secret: "wrong" };
    expect(await post(a, address, wrong)).toBe(401);
    const event = await until("the failure of a known client is written down", () =>
      fleet.prisma.auditEvent.findFirst({ where: { action: "token.refused", address } }),
    );
    expect(event.actorName).toBe(client.clientId);
    await a.access.counters.exchange();
    const [, b] = both();
    for (let time = 0; time < 3; time += 1) await post(a, address, wrong);
    await post(b, address, wrong);
    await until("what comes after is exchanged", async () => (await post(b, address, wrong)) === 429);
  });

  test("what nobody is called is not written down: it may be a secret in the wrong place", async () => {
    const [a] = both();
    const address = elsewhere();
    const form = { grant_type: "client_credentials", client_id: "hunter2-hunter2", client_secret: "x" };
    expect(await post(a, address, form)).toBe(401);
    const event = await until("the failure is written down", () =>
      fleet.prisma.auditEvent.findFirst({ where: { action: "token.refused", address } }),
    );
    expect(JSON.stringify(event)).not.toContain("hunter2");
  });
});
