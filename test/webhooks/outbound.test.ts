import { once } from "node:events";
import { createServer } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/until.js";
import { type DelivererOptions, openWebhookBench, type WebhookBench } from "./bench.js";
import { closeReceivers, openReceiver } from "./receiver.js";

let bench: WebhookBench;

/** Loopback is not allowed, unless a test says so. */
beforeAll(async () => {
  bench = await openWebhookBench({ env: { OUTBOUND_ALLOW: "198.51.100.1" } });
});
afterEach(async () => {
  await bench.stopAll();
  await bench.installation.database.query("UPDATE webhooks SET deleted_at = now() WHERE deleted_at IS NULL");
  await closeReceivers();
});
afterAll(() => bench.close());

const NAMES: Readonly<Record<string, readonly string[]>> = {
  "inside.example": ["10.1.2.3"],
  "mixed.example": ["93.184.216.34", "127.0.0.1"],
  "metadata.example": ["169.254.169.254"],
  "loop.example": ["127.0.0.1"],
};

const lookup = async (host: string) => {
  const addresses = NAMES[host];
  if (addresses === undefined) throw Object.assign(new Error("not found"), { code: "ENOTFOUND" });
  return addresses.map((address) => ({ address }));
};

/** What one try at a URL came to. */
async function tryAt(url: string, outbound: DelivererOptions["outbound"] = {}) {
  await bench.installation.database.query("UPDATE webhooks SET deleted_at = now() WHERE deleted_at IS NULL");
  const webhook = await bench.create(url, { events: ["operation.accepted"] });
  bench.start({ timeoutMs: 1_000, policy: { maxTries: 1 }, outbound: { lookup, ...outbound } });
  await bench.accept();
  const { lastAttempt } = await bench.untilDelivery(webhook.id, { nextAttemptAt: null });
  return lastAttempt;
}

/** A port that counts who connects to it. */
async function openTrap() {
  let touched = 0;
  const server = createServer((socket) => {
    touched += 1;
    socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { port, touched: () => touched, close: () => server.close() };
}

describe("a webhook reaches no address that is not public", () => {
  test.each([
    ["http://127.0.0.1:PORT/", "a loopback address"],
    ["http://localhost:PORT/", "a loopback address"],
    ["http://[::1]:PORT/", "a loopback address"],
    ["http://[::ffff:127.0.0.1]:PORT/", "a loopback address"],
    ["http://2130706433:PORT/", "a loopback address"],
    ["http://0x7f.1:PORT/", "a loopback address"],
    ["http://0.0.0.0:PORT/", "a reserved address"],
    ["http://10.0.0.1:PORT/", "a private address"],
    ["http://192.168.0.1/", "a private address"],
    ["http://169.254.169.254/latest/meta-data/", "a link-local address"],
    ["https://[fd00::1]/", "a private address"],
    ["https://100.64.0.1/", "a reserved address"],
    ["http://loop.example:PORT/", "a loopback address"],
    ["http://inside.example/", "a private address"],
    ["http://metadata.example/", "a link-local address"],
    ["http://mixed.example:PORT/", "a loopback address"],
  ])("%s", async (url, what) => {
    const trap = await openTrap();
    const outbound = url.includes("localhost") ? { lookup: async () => [{ address: "127.0.0.1" }] } : {};
    const attempt = await tryAt(url.replace("PORT", String(trap.port)), outbound);
    expect(attempt).toMatchObject({ statusCode: null, response: null });
    expect(attempt?.error).toContain(what);
    expect(attempt?.error).toContain("OUTBOUND_ALLOW=");
    expect(trap.touched()).toBe(0);
    trap.close();
  });

  test("and no name that nobody knows", async () => {
    expect((await tryAt("https://nowhere.example/"))?.error).toContain("nowhere.example is not known");
  });
});

test("a name is resolved once per try, and the connection goes to the address that was checked", async () => {
  const receiver = await openReceiver();
  let asked = 0;
  // The first answer may be reached; whoever asked again would be led elsewhere.
  const rebinding = async () => {
    asked += 1;
    return [{ address: asked === 1 ? "127.0.0.1" : "10.0.0.1" }];
  };
  const attempt = await tryAt(`http://rebinding.example:${receiver.port}/hook`, {
    allow: ["loopback"],
    lookup: rebinding,
  });
  expect(attempt).toMatchObject({ statusCode: 200, error: null });
  expect(asked).toBe(1);
  expect(receiver.received[0]?.headers.host).toBe(`rebinding.example:${receiver.port}`);
});

test("a name that leads elsewhere by the next try is checked anew", async () => {
  const receiver = await openReceiver();
  receiver.answer(() => ({ status: 500 }));
  let asked = 0;
  const moving = async () => {
    asked += 1;
    return [{ address: asked === 1 ? "127.0.0.1" : "10.0.0.1" }];
  };
  const webhook = await bench.create(`http://moving.example:${receiver.port}/`, {
    events: ["operation.accepted"],
  });
  bench.start({ policy: { maxTries: 2 }, outbound: { allow: ["loopback"], lookup: moving } });
  await bench.accept();
  const { attempts } = await bench.untilDelivery(webhook.id, { status: "failed" });
  expect(attempts.map(({ error }) => error)).toEqual([
    expect.stringContaining("a private address"),
    "answered 500",
  ]);
});

test("a redirect to an inner address is not followed", async () => {
  const trap = await openTrap();
  const receiver = await openReceiver();
  for (const status of [301, 302, 303, 307, 308]) {
    const location = `http://127.0.0.1:${trap.port}/`;
    receiver.answer(() => ({ status, headers: { location } }));
    const attempt = await tryAt(receiver.url, { allow: ["loopback"] });
    expect(attempt).toMatchObject({ statusCode: status });
    expect(attempt?.error).toContain("redirects are not followed");
    await bench.stopAll();
  }
  expect(receiver.received).toHaveLength(5);
  expect(trap.touched()).toBe(0);
  trap.close();
});

test("the control plane's own database is never reached, even where its network is allowed", async () => {
  const { hostname, port } = new URL(bench.installation.database.url);
  for (const host of [hostname, "loop.example", "[::1]"]) {
    const attempt = await tryAt(`http://${host}:${port}/`, { allow: ["loopback", "private"] });
    expect(attempt?.error).toContain("belongs to Gatehouse itself");
    await bench.stopAll();
  }
});

test("what lies behind a refused address can be tried later: the delivery waits for its next try", async () => {
  const receiver = await openReceiver();
  const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
  bench.start({ policy: { maxTries: 100, delayMs: () => 20 } });
  await bench.accept();
  await until("it was refused", async () => ((await bench.deliveries(webhook.id))[0]?.tries ?? 0) > 0);
  await bench.stopAll();
  expect(receiver.received).toEqual([]);
  bench.start({ outbound: { allow: ["loopback"] } });
  await receiver.until(1);
});
