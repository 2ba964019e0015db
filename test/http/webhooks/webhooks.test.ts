import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { openWebhookSecret } from "../../../src/domain/webhooks/secrets.js";
import { MAX_WEBHOOKS } from "../../../src/domain/webhooks/webhooks.js";
import { MasterKey } from "../../../src/platform/crypto.js";
import { explained, type Sent } from "../../operations/support.js";
import { until } from "../../support/until.js";
import {
  type DeliveryAnswer,
  openWebhookBench,
  type WebhookAnswer,
  type WebhookBench,
} from "../../webhooks/bench.js";
import { closeReceivers, openReceiver, verify } from "../../webhooks/receiver.js";
import {
  auditOf,
  type Caller,
  callerOf,
  callerWith,
  type ProblemAnswer,
  statusOf,
} from "../access/support.js";

let bench: WebhookBench;
let admin: Caller;
const URL = "https://hooks.example.com/gatehouse?token=abc";

beforeAll(async () => {
  bench = await openWebhookBench();
  admin = await callerOf(bench.installation);
});
afterEach(async () => {
  await bench.stopAll();
  await bench.installation.database.query("UPDATE webhooks SET deleted_at = now() WHERE deleted_at IS NULL");
  await closeReceivers();
});
afterAll(() => bench.close());

const base = "/api/v1/webhooks";

describe("a webhook", () => {
  test("is made with a secret that is shown this once, and kept encrypted", async () => {
    const made = await admin<WebhookAnswer>("POST", base, {
      url: URL,
      description: "tells the on-call channel",
    });
    statusOf(made, 201);
    expect(made.headers["cache-control"]).toBe("no-store");
    expect(made.headers.location).toBe(`${base}/${made.body.id}`);
    const { secret, ...rest } = made.body;
    expect(rest).toMatchObject({
      url: URL,
      projectId: null,
      events: ["*"],
      operationTypes: [],
      enabled: true,
    });
    const read = await admin<WebhookAnswer>("GET", `${base}/${rest.id}`);
    expect(read.body).toEqual(rest);
    expect((await admin("GET", base)).text).not.toContain(secret);
    const [row] = await bench.installation.database.query<{ id: string; sealed: Buffer; key_id: string }>(
      "SELECT id, sealed, key_id FROM webhook_secrets WHERE webhook_id = $1",
      [rest.id],
    );
    if (row === undefined) throw new Error("there is no secret");
    const { masterKey } = bench.installation.runtime;
    expect(`whsec_${openWebhookSecret(masterKey, row).toString("base64")}`).toBe(secret);
    expect(row.key_id).toBe(masterKey.id);
    expect(() => openWebhookSecret(new MasterKey(MasterKey.generate()), row)).toThrow();
    expect(() => openWebhookSecret(masterKey, { ...row, id: crypto.randomUUID() })).toThrow();
  });

  test("is made once for the same Idempotency-Key, and the secret is shown again while that is safe", async () => {
    const headers = { "idempotency-key": crypto.randomUUID() };
    const send = () => bench.installation.call<WebhookAnswer>("POST", base, { body: { url: URL }, headers });
    const [first, second] = [await send(), await send()];
    expect(second.headers["idempotent-replayed"]).toBe("true");
    expect(second.body).toEqual(first.body);
  });

  test("is changed by PATCH, which keeps what is not given", async () => {
    const { id } = await bench.create(URL, { operationTypes: ["sync"] });
    const changed = await admin<WebhookAnswer>("PATCH", `${base}/${id}`, { events: ["operation.failed"] });
    expect(changed.body).toMatchObject({ url: URL, events: ["operation.failed"], operationTypes: ["sync"] });
    statusOf(await admin("PATCH", `${base}/${id}`, { projectId: "default" }), 400);
    statusOf(await admin("PATCH", `${base}/${id}`, { url: "ftp://example.com" }), 400);
    expect((await bench.read(id)).url).toBe(URL);
  });

  test("that is deleted is gone, with its secrets", async () => {
    const { id } = await bench.create(URL);
    statusOf(await admin("DELETE", `${base}/${id}`), 204);
    for (const method of ["GET", "DELETE"] as const) statusOf(await admin(method, `${base}/${id}`), 404);
    statusOf(await admin("GET", `${base}/${id}/deliveries`), 404);
    expect((await admin<{ items: [] }>("GET", base)).body.items).toEqual([]);
    const left = await bench.installation.database.query(
      "SELECT 1 FROM webhook_secrets WHERE webhook_id = $1",
      [id],
    );
    expect(left).toEqual([]);
  });

  test("is disabled and enabled, again without effect", async () => {
    const { id } = await bench.create(URL);
    for (const _twice of [1, 2]) {
      const off = await admin<WebhookAnswer>("POST", `${base}/${id}/disable`);
      expect(off.body).toMatchObject({ enabled: false, disabledReason: "request" });
    }
    for (const _twice of [1, 2]) {
      const on = await admin<WebhookAnswer>("POST", `${base}/${id}/enable`);
      expect(on.body).toMatchObject({ enabled: true, disabledReason: null });
    }
    expect((await auditOf(bench.installation, id)).map(({ action }) => action)).toEqual([
      "webhook.create",
      "webhook.disable",
      "webhook.enable",
    ]);
  });

  test("and every change of it are written down, without secrets and without the path of its URL", async () => {
    const { id } = await bench.create(URL);
    await admin("PATCH", `${base}/${id}`, { events: ["operation.failed"] });
    await admin("POST", `${base}/${id}/secrets`);
    await admin("POST", `${base}/${id}/test`);
    await admin("DELETE", `${base}/${id}`);
    const events = await auditOf(bench.installation, id);
    expect(events.map(({ action }) => action)).toEqual([
      "webhook.create",
      "webhook.update",
      "webhook.secret.create",
      "webhook.test",
      "webhook.delete",
    ]);
    expect(events[1]?.details).toMatchObject({
      origin: "https://hooks.example.com",
      events: ["operation.failed"],
    });
    expect(JSON.stringify(events)).not.toContain("token=abc");
    expect(JSON.stringify(events)).not.toContain("whsec_");
  });

  test.each([
    ["no URL", {}],
    ["a URL that is none", { url: "hooks.example.com" }],
    ["another scheme", { url: "file:///etc/passwd" }],
    ["a password in the URL", { url: "https://user:password-of-a-test@hooks.example.com/" }],
    ["a fragment in the URL", { url: "https://hooks.example.com/#part" }],
    ["a URL that is too long", { url: `https://hooks.example.com/${"a".repeat(2_000)}` }],
    ["a URL that is too long in its one spelling", { url: `https://hooks.example.com/${"é".repeat(700)}` }],
    ["an event that is none", { url: URL, events: ["operation.exploded"] }],
    ["no event", { url: URL, events: [] }],
    ["an operation type that can be none", { url: URL, operationTypes: ["a b"] }],
    [
      "too many operation types",
      { url: URL, operationTypes: Array.from({ length: 21 }, (_each, i) => `t${i}`) },
    ],
    ["a project that is none", { url: URL, projectId: "nowhere" }],
    ["an unknown field", { url: URL, secret: "whsec_AAAA" }],
  ])("with %s is a 400", async (_what, body) => {
    const refused = await admin("POST", base, body);
    statusOf(refused, 400);
    expect(refused.body.errors?.length).toBeGreaterThan(0);
  });

  test("is found by the project it is of, and in pages", async () => {
    const other = await bench.installation.createProject();
    const wide = await bench.create(URL);
    const here = await bench.create(URL, { projectId: "default" });
    const there = await bench.create(URL, { projectId: other.id });
    const ids = async (query: string) =>
      (await admin<{ items: WebhookAnswer[] }>("GET", `${base}${query}`)).body.items.map(({ id }) => id);
    expect(await ids("")).toEqual([wide.id, here.id, there.id]);
    expect(await ids("?project=default")).toEqual([here.id]);
    expect(await ids(`?project=${other.number}`)).toEqual([there.id]);
    expect(await ids("?project=nowhere")).toEqual([]);
    const first = await admin<{ items: WebhookAnswer[]; nextCursor: string }>("GET", `${base}?limit=2`);
    expect(await ids(`?cursor=${first.body.nextCursor}`)).toEqual([there.id]);
  });

  test("of a project that is deleted goes with it", async () => {
    const project = await bench.installation.createProject({ slug: "passing" });
    const { id } = await bench.create(URL, { projectId: "passing" });
    statusOf(await admin("DELETE", `/api/v1/projects/${project.id}`), 204);
    statusOf(await admin("GET", `${base}/${id}`), 404);
  });

  test(`is refused where the organization has ${MAX_WEBHOOKS}, however many ask at once`, async () => {
    const other = await bench.installation.createOrganization();
    const theirs = await callerOf(bench.installation, other.client);
    await bench.installation.database.query(
      `INSERT INTO webhooks (id, organization_id, url, events, created_by)
       SELECT gatehouse_uuidv7(), $1, 'https://hooks.example.com', '{*}', 'a test' FROM generate_series(1, $2)`,
      [other.id, MAX_WEBHOOKS - 1],
    );
    const answers = await Promise.all([1, 2, 3].map(() => theirs("POST", base, { url: URL })));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
    statusOf(await admin("POST", base, { url: URL }), 201);
  });
});

describe("who may do what", () => {
  test("a caller that is limited to projects makes and sees webhooks of these alone", async () => {
    const mine = await bench.installation.createProject();
    const limited = await callerWith(bench.installation, { projects: [mine.id] });
    const wide = await bench.create(URL);
    const elsewhere = await bench.create(URL, { projectId: "default" });
    statusOf(await limited("POST", base, { url: URL }), 403);
    statusOf(await limited("POST", base, { url: URL, projectId: "default" }), 403);
    statusOf(await limited("POST", base, { url: URL, projectId: null }), 403);
    const made = await limited<WebhookAnswer>("POST", base, { url: URL, projectId: mine.slug });
    statusOf(made, 201);
    const list = await limited<{ items: WebhookAnswer[] }>("GET", base);
    expect(list.body.items.map(({ id }) => id)).toEqual([made.body.id]);
    for (const { id } of [wide, elsewhere]) {
      for (const [method, path] of ROUTES) statusOf(await limited(method, `${base}/${id}${path}`), 404);
    }
    statusOf(await limited("DELETE", `${base}/${made.body.id}`), 204);
  });

  const ROUTES = [
    ["GET", ""],
    ["DELETE", ""],
    ["POST", "/disable"],
    ["POST", "/enable"],
    ["POST", "/secrets"],
    ["POST", "/test"],
    ["GET", "/deliveries"],
    ["GET", `/deliveries/${crypto.randomUUID()}`],
    ["POST", `/deliveries/${crypto.randomUUID()}/replay`],
  ] as const;

  test("another organization sees nothing of it", async () => {
    const { id } = await bench.create(URL);
    const other = await bench.installation.createOrganization();
    const theirs = await callerOf(bench.installation, other.client);
    for (const [method, path] of ROUTES) statusOf(await theirs(method, `${base}/${id}${path}`), 404);
    statusOf(await theirs("PATCH", `${base}/${id}`, {}), 404);
    statusOf(await admin("GET", `${base}/${id}`), 200);
  });

  test("deliveries are found below their own webhook alone", async () => {
    const [one, two] = [await bench.create(URL), await bench.create(URL)];
    const sent = await admin<DeliveryAnswer>("POST", `${base}/${one.id}/test`);
    statusOf(await admin("GET", `${base}/${one.id}/deliveries/${sent.body.id}`), 200);
    statusOf(await admin("GET", `${base}/${two.id}/deliveries/${sent.body.id}`), 404);
    statusOf(await admin("POST", `${base}/${two.id}/deliveries/${sent.body.id}/replay`), 404);
  });

  test("who may not read operations may neither have them sent nor read what is sent", async () => {
    const blind = await callerWith(bench.installation, { scopes: ["webhook:read", "webhook:write"] });
    const { id } = await bench.create(URL);
    const refused = await blind<ProblemAnswer>("POST", base, { url: URL });
    statusOf(refused, 403);
    expect(refused.body.scope).toBe("operation:read");
    statusOf(await blind("PATCH", `${base}/${id}`, { url: "https://elsewhere.example.com/" }), 403);
    statusOf(await blind("POST", `${base}/${id}/enable`), 403);
    await bench.accept();
    const [sent] = await bench.deliveries(id);
    const delivery = `${base}/${id}/deliveries/${sent?.id}`;
    for (const [method, path] of [
      ["GET", ""],
      ["POST", "/replay"],
    ] as const) {
      const unread = await blind<ProblemAnswer>(method, delivery + path);
      statusOf(unread, 403);
      expect(unread.body.scope).toBe("operation:read");
    }
    const list = await blind<{ items: DeliveryAnswer[] }>("GET", `${base}/${id}/deliveries`);
    expect(list.body.items.map((item) => item.id)).toEqual([sent?.id]);
    expect(list.body.items[0]).not.toHaveProperty("message");
  });
});

describe("the secret", () => {
  test("is replaced while the one before signs on, and both signatures hold", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    const rotated = await admin<WebhookAnswer>("POST", `${base}/${webhook.id}/secrets`, {
      graceSeconds: 3_600,
    });
    statusOf(rotated, 201);
    expect(rotated.headers["cache-control"]).toBe("no-store");
    expect(rotated.body.secret).not.toBe(webhook.secret);
    expect(rotated.body.secrets.map(({ expiresAt }) => expiresAt === null)).toEqual([false, true]);
    bench.start();
    await bench.accept();
    const [first] = await receiver.until(1);
    if (first === undefined) throw new Error("nothing came");
    expect(String(first.headers["webhook-signature"]).split(" ")).toHaveLength(2);
    for (const secret of [webhook.secret, rotated.body.secret])
      expect(() => verify(secret, first)).not.toThrow();
  });

  test("is replaced no third time while two sign, unless those before are to end", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    const url = `${base}/${webhook.id}/secrets`;
    const second = await admin<WebhookAnswer>("POST", url);
    statusOf(second, 201);
    statusOf(await admin("POST", url), 409);
    const last = await admin<WebhookAnswer>("POST", url, { graceSeconds: 0 });
    statusOf(last, 201);
    expect(last.body.secrets).toHaveLength(1);
    bench.start();
    await bench.accept();
    const [first] = await receiver.until(1);
    if (first === undefined) throw new Error("nothing came");
    for (const old of [webhook.secret, second.body.secret]) expect(() => verify(old, first)).toThrow();
    expect(() => verify(last.body.secret, first)).not.toThrow();
  });

  test("that was replaced signs no more when its time of grace is over", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    const second = await admin<WebhookAnswer>("POST", `${base}/${webhook.id}/secrets`, { graceSeconds: 60 });
    await bench.installation.database.query(
      "UPDATE webhook_secrets SET expires_at = now() - interval '1 second' WHERE webhook_id = $1 AND expires_at IS NOT NULL",
      [webhook.id],
    );
    bench.start();
    await bench.accept();
    const [first] = await receiver.until(1);
    if (first === undefined) throw new Error("nothing came");
    expect(() => verify(webhook.secret, first)).toThrow();
    expect(() => verify(second.body.secret, first)).not.toThrow();
    // Only one signs: there is room for another.
    statusOf(await admin("POST", `${base}/${webhook.id}/secrets`), 201);
  });

  test.each([[{ graceSeconds: -1 }], [{ graceSeconds: 2_592_001 }], [{ grace: 1 }]])(
    "is not replaced with %j",
    async (body) => {
      const { id } = await bench.create(URL);
      statusOf(await admin("POST", `${base}/${id}/secrets`, body), 400);
    },
  );
});

describe("a ping", () => {
  test("is sent whatever the webhook asked for, once, and signed", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.cancelled"] });
    bench.start();
    const sent = await admin<DeliveryAnswer>("POST", `${base}/${webhook.id}/test`);
    statusOf(sent, 201);
    expect(sent.body).toMatchObject({ eventType: "webhook.ping", status: "pending", attempts: [] });
    expect(sent.headers.location).toBe(`${base}/${webhook.id}/deliveries/${sent.body.id}`);
    const [first] = await receiver.until(1);
    if (first === undefined) throw new Error("nothing came");
    expect(verify(webhook.secret, first)).toEqual(sent.body.message);
    expect(first.message.data).toEqual({ webhookId: webhook.id });
    await bench.untilDelivery(webhook.id, { status: "succeeded" });
  });

  test("that fails is tried no second time, and does not count against the webhook", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 500 }));
    const webhook = await bench.create(receiver.url);
    bench.start();
    await admin("POST", `${base}/${webhook.id}/test`);
    await bench.untilDelivery(webhook.id, { status: "failed", tries: 1 });
    expect((await bench.read(webhook.id)).failures).toBe(0);
  });

  test("that fails is tried once more when it is replayed, and no oftener", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 500 }));
    const webhook = await bench.create(receiver.url);
    bench.start();
    const { body } = await admin<DeliveryAnswer>("POST", `${base}/${webhook.id}/test`);
    await bench.untilDelivery(webhook.id, { status: "failed", tries: 1 });
    statusOf(await admin("POST", `${base}/${webhook.id}/deliveries/${body.id}/replay`), 200);
    await receiver.until(2);
    await bench.untilDelivery(webhook.id, { status: "failed", tries: 1 });
  });

  test("goes before all that waits, and a replayed delivery too", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    bench.start();
    await bench.accept();
    const done = await bench.untilDelivery(webhook.id, { status: "succeeded" });
    await bench.stopAll();
    for (let i = 0; i < 5; i++) await bench.accept();
    const ping = await admin<DeliveryAnswer>("POST", `${base}/${webhook.id}/test`);
    statusOf(await admin("POST", `${base}/${webhook.id}/deliveries/${done.id}/replay`), 200);
    bench.start({ perWebhook: 1 });
    const ids = (await receiver.until(8)).map(({ message }) => message.id);
    expect(new Set(ids.slice(1, 3))).toEqual(new Set([ping.body.eventId, done.eventId]));
  });

  test("of a disabled webhook is a 409", async () => {
    const { id } = await bench.create(URL);
    await admin("POST", `${base}/${id}/disable`);
    statusOf(await admin("POST", `${base}/${id}/test`), 409);
  });
});

describe("deliveries", () => {
  test("are listed newest first, in pages, by status, event and operation", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted", "operation.failed"] });
    const first = await bench.accept();
    const second = await bench.accept();
    await bench.run(second, { status: "failed", error: { type: "t", title: "t", status: 500, detail: "d" } });
    const all = await bench.deliveries(webhook.id);
    expect(all.map(({ eventType, operationId }) => [eventType, operationId])).toEqual([
      ["operation.failed", second],
      ["operation.accepted", second],
      ["operation.accepted", first],
    ]);
    const ids = async (query: string) => (await bench.deliveries(webhook.id, query)).map(({ id }) => id);
    expect(await ids("?eventType=operation.failed")).toEqual([all[0]?.id]);
    expect(await ids(`?operationId=${first}`)).toEqual([all[2]?.id]);
    expect(await ids("?operationId=nothing")).toEqual([]);
    expect(await ids("?status=succeeded")).toEqual([]);
    const url = `${base}/${webhook.id}/deliveries?limit=2`;
    const page = await admin<{ items: DeliveryAnswer[]; nextCursor: string }>("GET", url);
    expect(page.body.items).toEqual(all.slice(0, 2));
    expect(await ids(`?cursor=${page.body.nextCursor}`)).toEqual([all[2]?.id]);
    statusOf(await admin("GET", `${base}/${webhook.id}/deliveries?status=sent`), 400);
    bench.start();
    await receiver.until(3);
  });

  test("of one operation are found by an index, however long the history of the webhook is", async () => {
    const webhook = await bench.create(URL, { events: ["operation.accepted"] });
    const operation = await bench.accept();
    const { database, runtime } = bench.installation;
    await database.query(
      `INSERT INTO webhook_deliveries (id, organization_id, webhook_id, event_id, event_type, operation_id, status)
       SELECT gatehouse_uuidv7(), d.organization_id, d.webhook_id, d.event_id, d.event_type, gen_random_uuid(), 'succeeded'
       FROM webhook_deliveries d, generate_series(1, 20000) WHERE d.webhook_id = $1`,
      [webhook.id],
    );
    await database.query("ANALYZE webhook_deliveries");
    const sent = vi.spyOn(pg.Client.prototype, "query");
    expect(await bench.deliveries(webhook.id, `?operationId=${operation}`)).toHaveLength(1);
    const queries = sent.mock.calls.map(([query]) => query as unknown as Sent);
    sent.mockRestore();
    const list = queries.find(({ text }) => text?.includes('FROM "public"."webhook_deliveries"'));
    if (list === undefined) throw new Error("no list was read");
    const { pages } = await explained(runtime.db, list);
    expect(pages).toBeLessThan(20);
  });

  test("are replayed under the same id, with a signature of now and of the present secret", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    bench.start();
    await bench.accept();
    const done = await bench.untilDelivery(webhook.id, { status: "succeeded" });
    const rotated = await admin<WebhookAnswer>("POST", `${base}/${webhook.id}/secrets`, { graceSeconds: 0 });
    const again = await admin<DeliveryAnswer>("POST", `${base}/${webhook.id}/deliveries/${done.id}/replay`);
    statusOf(again, 200);
    expect(again.body).toMatchObject({ id: done.id, status: "pending", tries: 0, finishedAt: null });
    const [first, second] = await receiver.until(2);
    if (first === undefined || second === undefined) throw new Error("nothing came");
    expect(second.text).toBe(first.text);
    expect(second.headers["webhook-id"]).toBe(done.eventId);
    expect(() => verify(rotated.body.secret, second)).not.toThrow();
    const { attempts } = await bench.untilDelivery(webhook.id, { status: "succeeded" });
    expect(attempts.map(({ number }) => number)).toEqual([2, 1]);
    const audit = await auditOf(bench.installation, webhook.id);
    expect(audit.at(-1)).toMatchObject({ action: "webhook.replay", details: { deliveryId: done.id } });
  });

  test("that were given up get all their tries again", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 500 }));
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    bench.start({ policy: { maxTries: 2 } });
    await bench.accept();
    const failed = await bench.untilDelivery(webhook.id, { status: "failed", tries: 2 });
    await admin("POST", `${base}/${webhook.id}/deliveries/${failed.id}/replay`);
    await receiver.until(4);
    await bench.untilDelivery(webhook.id, { status: "failed", tries: 2 });
  });

  test("that wait for their next try are sent now", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 500 }));
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    bench.start({ policy: { delayMs: () => 3_600_000 } });
    await bench.accept();
    const waiting = await bench.untilDelivery(webhook.id, { status: "pending", tries: 1 });
    receiver.answer(() => ({ status: 200 }));
    await admin("POST", `${base}/${webhook.id}/deliveries/${waiting.id}/replay`);
    await bench.untilDelivery(webhook.id, { status: "succeeded", tries: 1 });
  });

  test("that wait go to a new URL at once", async () => {
    const [old, next] = [await openReceiver(), await openReceiver()];
    old.answer(() => ({ status: 500 }));
    const webhook = await bench.create(old.url, { events: ["operation.accepted"] });
    bench.start({ policy: { delayMs: () => 3_600_000 } });
    await bench.accept();
    await bench.untilDelivery(webhook.id, { status: "pending", tries: 1 });
    const moved = await admin<WebhookAnswer>("PATCH", `${base}/${webhook.id}`, { url: next.url });
    expect(moved.body).toMatchObject({ url: next.url, failures: 0 });
    await next.until(1);
  });

  test("that are removed by retention at that moment are not replayed: 404", async () => {
    const webhook = await bench.create(URL, { events: ["operation.accepted"] });
    const { database, runtime } = bench.installation;
    for (const status of ["succeeded", "pending"]) {
      await bench.accept();
      const [sent] = await bench.deliveries(webhook.id);
      await database.query("UPDATE webhook_deliveries SET status = $2 WHERE id = $1", [sent?.id, status]);
      const answer = await runtime.db.transaction(async (tx) => {
        await tx.run("DELETE FROM webhook_deliveries WHERE id = $1", [sent?.id]);
        const replayed = admin<ProblemAnswer>("POST", `${base}/${webhook.id}/deliveries/${sent?.id}/replay`);
        await until("it waits for who removes it", async () => {
          const text = `SELECT 1 FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%webhook_deliveries%'`;
          return (await database.query(text)).length > 0;
        });
        // Not awaited before the commit that it waits for.
        return { replayed };
      });
      statusOf(await answer.replayed, 404);
    }
  });

  test("of a disabled webhook are not replayed: 409", async () => {
    const { id } = await bench.create(URL);
    const sent = await admin<DeliveryAnswer>("POST", `${base}/${id}/test`);
    await admin("POST", `${base}/${id}/disable`);
    statusOf(await admin("POST", `${base}/${id}/deliveries/${sent.body.id}/replay`), 409);
  });
});
