import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { queueBackends } from "../support/backends.js";
import { hasRedis } from "../support/redis.js";
import { until } from "../support/until.js";
import {
  adminOf,
  type Credentials,
  type Fleet,
  type Instance,
  lasts,
  openFleet,
  PROMISE_MS,
} from "./support.js";
import { openWire } from "./wire.js";

let fleet: Fleet;

beforeAll(async () => {
  fleet = await openFleet();
});
afterAll(() => fleet.close());

const revoke = (instance: Instance, token: string, { clientId, clientSecret }: Credentials) =>
  instance.post({ token, client_id: clientId, client_secret: clientSecret }, { url: "/oauth/revoke" });
const isGood = async (instance: Instance, token: string): Promise<boolean> =>
  (await instance.call(token)).status === 200;

/** Every way in which a token ends before its time. */
const ENDS: readonly [string, (api: Instance, token: string, client: Credentials) => Promise<unknown>][] = [
  ["it is revoked", (api, token, client) => revoke(api, token, client)],
  [
    "its client is disabled",
    (api, _token, client) => api.services.clients.disable(adminOf(fleet), client.clientId),
  ],
  [
    "its client is deleted",
    (api, _token, client) => api.services.clients.delete(adminOf(fleet), client.clientId),
  ],
  [
    "its client loses a scope",
    (api, _token, client) =>
      api.services.clients.update(adminOf(fleet), client.clientId, { scopes: ["job:read", "job:write"] }),
  ],
  [
    "its client expires",
    (_api, _token, { clientId }) =>
      fleet.prisma.apiClient.update({ where: { clientId }, data: { expiresAt: new Date() } }),
  ],
];

describe.each(await backends())("with signals $name", ({ env, signals }) => {
  let [here, there]: Instance[] = [];

  beforeAll(async () => {
    here = await fleet.open({ env, signals });
    there = await fleet.open({ env, signals });
  });
  afterAll(async () => {
    await here?.close();
    await there?.close();
  });

  test.each(ENDS)(
    "a token ends in every process within a second of the moment that %s",
    async (_name, end) => {
      if (here === undefined || there === undefined) throw new Error("not open");
      const client = await fleet.newClient();
      const token = await here.token(client);
      for (const each of [here, there]) expect(await isGood(each, token)).toBe(true);
      await end(here, token, client);
      const times = [here, there].map((each) => lasts(() => isGood(each, token)));
      for (const time of await Promise.all(times)) expect(time).toBeLessThan(PROMISE_MS);
    },
  );
});

async function backends() {
  const signals = { name: "over PostgreSQL", signals: true, env: {} };
  const lost = { name: "that are all lost", signals: false, env: {} };
  if (!hasRedis()) return [signals, lost];
  const redis = (await queueBackends()).find(({ name }) => name === "redis");
  return redis === undefined
    ? [signals, lost]
    : [signals, lost, { name: "over Redis", signals: true, env: redis.env }];
}

describe("a process that has just started", () => {
  test("knows what was revoked before it is ready, without having heard of it", async () => {
    const first = await fleet.open();
    const tokens = await Promise.all([fleet.admin, fleet.admin].map((client) => first.token(client)));
    const [revoked = "", good = ""] = tokens;
    await revoke(first, revoked, fleet.admin);
    await first.close();
    const second = await fleet.open({ signals: false });
    expect(await isGood(second, revoked)).toBe(false);
    expect(await isGood(second, good)).toBe(true);
    await second.close();
  });
});

describe("without the database", () => {
  test("nothing is believed for longer than a second: 503, never an old answer; then all is as before", async () => {
    const wire = await openWire(fleet.database.url);
    const [api, other] = [await fleet.open({ databaseUrl: wire.url }), await fleet.open()];
    const client = await fleet.newClient();
    const [token, revoked] = [await api.token(client), await api.token(client)];
    const form = {
      ...{ grant_type: "client_credentials", client_id: client.clientId, client_secret: client.clientSecret },
    };
    expect(await isGood(api, token)).toBe(true);
    wire.cut();
    const ends = [
      lasts(() => isGood(api, token)),
      lasts(async () => (await api.post(form)).status === 200),
      // Somebody else, whose database is there, takes one back meanwhile.
      revoke(other, revoked, client).then(() => lasts(() => isGood(api, revoked))),
    ];
    for (const end of await Promise.all(ends)) expect(end).toBeLessThan(PROMISE_MS);
    for (const each of [token, revoked]) {
      const { status, headers } = await api.call(each);
      expect([status, headers["retry-after"], headers["www-authenticate"]]).toEqual([503, "1", undefined]);
    }
    const refused = await api.post(form);
    expect([refused.status, refused.body["error"]]).toEqual([503, "temporarily_unavailable"]);
    const asked = await api.post(
      { token, client_id: client.clientId, client_secret: client.clientSecret },
      { url: "/oauth/introspect" },
    );
    expect(asked.status).toBe(503);
    expect((await api.app.inject({ url: "/readyz" })).statusCode).toBe(503);
    wire.mend();
    await until("the good one is good again", () => isGood(api, token));
    expect(await isGood(api, revoked)).toBe(false);
    await api.close();
    await other.close();
    await wire.close();
  });
});

describe("a hot request", () => {
  test("costs no round trip to the database, with a built-in audience and with a registered one", async () => {
    const wire = await openWire(fleet.database.url);
    const api = await fleet.open({ databaseUrl: wire.url });
    const audience = "https://hot.example/api/";
    await fleet.prisma.resourceServer.create({
      data: {
        ...{
          id: crypto.randomUUID(),
          organizationId: fleet.organizationId,
          identifier: audience,
          name: "hot",
        },
        ...{ tokenLifetime: 600, scopes: ["service"], dialects: ["core"], createdBy: "a test" },
      },
    });
    const tokens = [await api.token(fleet.admin), await api.token(fleet.admin, { audience })];
    for (const token of tokens) expect(await isGood(api, token)).toBe(true);
    for (const token of tokens) {
      const { sent } = wire;
      const count = 1_000;
      for (let call = 0; call < count; call += 1) expect(await isGood(api, token)).toBe(true);
      // What goes over the wire meanwhile are looks from time to time, which go over it without any request too.
      expect(wire.sent - sent).toBeLessThan(count / 2);
    }
    await api.close();
    await wire.close();
  });
});
