import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/until.js";
import { adminOf, type Fleet, type Instance, openFleet } from "./support.js";
import { openWire } from "./wire.js";

let fleet: Fleet;
let api: Instance;

/** Time stands still: no window of a minute ends amid a test. */
const NOW = new Date(Math.floor(Date.now() / 60_000) * 60_000 + 1_000);
const QUOTA = 10;

beforeAll(async () => {
  fleet = await openFleet();
  api = await fleet.open({
    clock: { now: () => NOW },
    env: { RATE_LIMIT_REQUESTS: String(QUOTA), TRUST_PROXY: "loopback, 10.9.0.0/16" },
  });
});
afterAll(() => fleet.close());

const FORM = "application/x-www-form-urlencoded";

async function newKey(permissions: object = { permissionAllRead: true, permissionAllWrite: true }) {
  const { apiKey, secret } = await api.services.apiKeys.create(adminOf(fleet), {
    name: "a key",
    ...permissions,
  });
  return { id: apiKey.id, key: apiKey.key, secret };
}

interface Sent {
  readonly method?: "GET" | "POST" | "DELETE";
  readonly body?: object;
  readonly form?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly remoteAddress?: string;
}

async function send(url: string, { method = "GET", body, form, headers = {}, remoteAddress }: Sent = {}) {
  const payload = form === undefined ? body : new URLSearchParams(form).toString();
  const response = await api.app.inject({
    ...{ method, url, headers: { ...(form === undefined ? {} : { "content-type": FORM }), ...headers } },
    ...(payload === undefined ? {} : { payload }),
    ...(remoteAddress === undefined ? {} : { remoteAddress }),
  });
  return { status: response.statusCode, headers: response.headers, text: response.body };
}

/** One path per dialect that takes a body, and what it takes. */
const DIALECTS: readonly [string, string, object][] = [
  ["core", "/api/v1/projects", { slug: "core" }],
  ["project", "/api/v1/project/default/check-unique", { name: "x", entity_type: "job" }],
  ["topics", "/api/v1/apiKey", { name: "another" }],
  ["deployments", "/organizations/api-clients", { name: "x", environmentIds: [] }],
];

describe("an API key", () => {
  test.each(DIALECTS)(
    "is taken by the %s dialect in the header, the query and a field of a body",
    async (_name, url, body) => {
      const { secret } = await newKey();
      const answers = [
        await send(url, {
          method: "POST",
          body: tagged(body, 1),
          headers: { authorization: `Bearer ${secret}` },
        }),
        await send(`${url}?apiKey=${secret}`, { method: "POST", body: tagged(body, 2) }),
        await send(url, { method: "POST", body: { ...tagged(body, 3), apiKey: secret } }),
      ];
      for (const { status, text } of answers) {
        expect([status, text]).toEqual([
          expect.toSatisfy((code) => code < 300),
          expect.not.stringContaining(secret),
        ]);
      }
      expect((await send(url, { method: "POST", body })).status).toBe(401);
      expect((await send(url, { method: "POST", body: { ...body, apiKey: `${secret}x` } })).status).toBe(401);
    },
  );

  test("is taken as a field of a form, and never from the body of a GET", async () => {
    const { secret } = await newKey();
    const made = await send("/api/v1/apiKey", { method: "POST", form: { name: "by form", apiKey: secret } });
    expect(made.status, made.text).toBe(200);
    expect((await send("/api/v1/apiKeys", { body: { apiKey: secret } })).status).toBe(401);
    expect((await send(`/api/v1/apiKeys?apiKey=${secret}`)).status).toBe(200);
  });

  test("that is disabled is over in every process within a second, also for who has just used it", async () => {
    const other = await fleet.open({ signals: false });
    const { key, secret } = await newKey();
    const isGood = async (): Promise<boolean> => (await other.call(secret)).status === 200;
    expect(await isGood()).toBe(true);
    await api.services.apiKeys.update(adminOf(fleet), key, { disabled: true });
    const since = performance.now();
    let last = 0;
    await until("the key is refused", async () => {
      const began = performance.now();
      const good = await isGood();
      if (good) last = began - since;
      return !good;
    });
    expect(last).toBeLessThan(1_000);
    await other.close();
  });

  test("costs a hot request no round trip to the database", async () => {
    const wire = await openWire(fleet.database.url);
    const hot = await fleet.open({ databaseUrl: wire.url });
    const { secret } = await newKey();
    expect((await hot.call(secret)).status).toBe(200);
    const { sent } = wire;
    for (let call = 0; call < 1_000; call += 1) expect((await hot.call(secret)).status).toBe(200);
    expect(wire.sent - sent).toBeLessThan(500);
    await hot.close();
    await wire.close();
  });
});

function tagged(body: object, number: number): object {
  return "slug" in body ? { ...body, slug: `core-${number}-${Math.random().toString(36).slice(2)}` } : body;
}

describe("the general limit of a principal", () => {
  const statuses = async (request: () => Promise<{ status: number }>, times: number): Promise<number[]> => {
    const found: number[] = [];
    while (found.length < times) found.push((await request()).status);
    return found;
  };

  test("counts requests, says how many are left, and leaves everybody else alone", async () => {
    const [{ secret }, other] = [await newKey(), await newKey()];
    const call = () => send("/probe", { headers: { authorization: `Bearer ${secret}` } });
    const first = await call();
    expect(first.headers).toMatchObject({
      "ratelimit-policy": `"requests";q=${QUOTA};w=60`,
      ratelimit: expect.stringMatching(/^"requests";r=9;t=\d+$/),
    });
    expect(await statuses(call, QUOTA)).toEqual([...Array(QUOTA - 1).fill(200), 429]);
    const refused = await call();
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
    expect((await send("/probe", { headers: { authorization: `Bearer ${other.secret}` } })).status).toBe(200);
  });

  test("counts keys in bodies", async () => {
    const { secret } = await newKey();
    const call = () => send("/probe", { method: "POST", body: { apiKey: secret } });
    expect(await statuses(call, QUOTA + 2)).toEqual([...Array(QUOTA).fill(200), 429, 429]);
  });

  test("counts what is refused for a scope, and is written down once", async () => {
    const { id, secret } = await newKey({ permissions: [{ topic: "app", read: true }] });
    const call = () => send("/probe", { headers: { authorization: `Bearer ${secret}` } });
    expect(await statuses(call, QUOTA + 3)).toEqual([...Array(QUOTA).fill(403), 429, 429, 429]);
    const events = await until("all is written down", async () => {
      const found = await fleet.prisma.auditEvent.findMany({ where: { actorId: id } });
      return found.length > QUOTA && found;
    });
    expect(events.filter(({ action }) => action === "request.limited")).toHaveLength(1);
    expect(events.filter(({ action }) => action === "request.denied")).toHaveLength(QUOTA);
  });
});

describe("where a request comes from", () => {
  const addressOf = async (remoteAddress: string, forwarded: string): Promise<string | null> => {
    const { secret, id } = await newKey({ permissions: [{ topic: "app", read: true }] });
    const headers = { authorization: `Bearer ${secret}`, "x-forwarded-for": forwarded };
    expect((await send("/probe", { headers, remoteAddress })).status).toBe(403);
    const event = await until("the refusal is written down", () =>
      fleet.prisma.auditEvent.findFirst({ where: { actorId: id } }),
    );
    return event.address;
  };

  test("is what a trusted proxy says, and nothing that anybody else says", async () => {
    expect(await addressOf("127.0.0.1", "203.0.113.7")).toBe("203.0.113.7");
    expect(await addressOf("10.9.1.1", "198.51.100.1, 203.0.113.8, 127.0.0.1")).toBe("203.0.113.8");
    expect(await addressOf("192.0.2.1", "203.0.113.9")).toBe("192.0.2.1");
  });

  test("counts by network for who can choose among many addresses", async () => {
    const strict = await fleet.open({ clock: { now: () => NOW }, env: { RATE_LIMIT_FAILURES: "4" } });
    const client = await fleet.newClient();
    const form = { grant_type: "client_credentials", client_id: client.clientId, client_secret: "wrong" };
    const from = async (remoteAddress: string): Promise<number> => {
      const payload = new URLSearchParams(form).toString();
      const headers = { "content-type": FORM };
      const url = "/oauth/token";
      return (await strict.app.inject({ method: "POST", url, remoteAddress, payload, headers })).statusCode;
    };
    const tries: number[] = [];
    for (let host = 1; host <= 6; host += 1) tries.push(await from(`2001:db8:0:7::${host}`));
    expect(tries).toEqual([401, 401, 401, 401, 429, 429]);
    expect(await from("2001:db8:0:8::1")).toBe(401);
    await strict.close();
  });
});
