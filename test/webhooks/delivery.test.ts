import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { showWebhookBacklog } from "../../src/domain/webhooks/backlog.js";
import { createMetrics, type Metrics } from "../../src/platform/metrics.js";
import { observeDeliveries } from "../../src/worker/webhooks/observer.js";
import { sampleOf } from "../observability/support.js";
import type { OperationAnswer } from "../support/installation.js";
import { until } from "../support/until.js";
import { openWebhookBench, SUCCEEDED, type WebhookAnswer, type WebhookBench } from "./bench.js";
import { closeReceivers, openReceiver, type Receiver, verify } from "./receiver.js";

let bench: WebhookBench;

beforeAll(async () => {
  bench = await openWebhookBench();
});
afterEach(async () => {
  await bench.stopAll();
  await bench.installation.database.query("UPDATE webhooks SET deleted_at = now() WHERE deleted_at IS NULL");
  await closeReceivers();
});
afterAll(() => bench.close());

const typesAt = ({ received }: Receiver) => received.map(({ message }) => message.type);

describe("a message", () => {
  test("is signed so that the library of Standard Webhooks takes it, and holds the operation as the core API shows it", async () => {
    const receiver = await openReceiver("/hook?key=1");
    const webhook = await bench.create(receiver.url, { events: ["operation.succeeded"] });
    expect(webhook.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    bench.start();
    const id = await bench.accept();
    await bench.run(id);
    const [first] = await receiver.until(1);
    if (first === undefined) throw new Error("nothing came");
    expect(verify(webhook.secret, first)).toEqual(first.message);
    expect(first.path).toBe("/hook?key=1");
    expect(first.headers["content-type"]).toBe("application/json");
    expect(first.headers["webhook-id"]).toBe(first.message.id);
    const now = await bench.installation.call<OperationAnswer>("GET", `/api/v1/operations/${id}`);
    expect(first.message.data).toEqual(now.body);
    expect(first.message).toMatchObject({
      type: "operation.succeeded",
      projectId: bench.installation.project.id,
    });
    expect(Date.parse(first.message.timestamp)).toBeGreaterThan(Date.now() - 60_000);
  });

  test("that was changed on its way, or is under another secret, is not taken", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url);
    const other = await bench.create(receiver.url, { events: ["operation.cancelled"] });
    bench.start();
    await bench.accept();
    const [first] = await receiver.until(1);
    if (first === undefined) throw new Error("nothing came");
    expect(() =>
      verify(webhook.secret, { ...first, text: first.text.replace("accepted", "accepteD") }),
    ).toThrow();
    expect(() => verify(other.secret, first)).toThrow();
    const forged = { ...first.headers, "webhook-id": crypto.randomUUID() };
    expect(() => verify(webhook.secret, { ...first, headers: forged })).toThrow();
  });

  test("whose result is too large to be sent says so, and the rest of it comes", async () => {
    const receiver = await openReceiver();
    await bench.create(receiver.url, { events: ["operation.succeeded", "operation.failed"] });
    bench.start();
    const [large, huge] = [await bench.accept(), await bench.accept()];
    await bench.run(large, { status: "succeeded", result: { text: "x".repeat(70_000) } });
    const detail = "y".repeat(500_000);
    await bench.run(huge, { status: "failed", error: { type: "t", title: "t", status: 500, detail } });
    const messages = (await receiver.until(2)).map(({ message }) => message);
    expect(messages.find(({ data }) => data["id"] === large)).toMatchObject({
      truncated: true,
      data: { status: "succeeded", done: true, result: null },
    });
    expect(messages.find(({ data }) => data["id"] === huge)).toMatchObject({
      truncated: true,
      data: { status: "failed", error: null },
    });
  });
});

describe("the events of an operation", () => {
  test("come in their order, each once, though many operations are on their way at a time", async () => {
    const receiver = await openReceiver();
    await bench.create(receiver.url);
    const ids = await Promise.all(Array.from({ length: 20 }, () => bench.accept()));
    await Promise.all(ids.map((id) => bench.run(id)));
    // Several workers, and answers that take their time.
    receiver.answer(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return { status: 204 };
    });
    for (let i = 0; i < 3; i++) bench.start();
    const received = await receiver.until(60);
    for (const id of ids) {
      const types = received
        .filter(({ message }) => message.data["id"] === id)
        .map(({ message }) => message.type);
      expect(types).toEqual(["operation.accepted", "operation.started", "operation.succeeded"]);
    }
    expect(new Set(received.map(({ headers }) => headers["webhook-id"])).size).toBe(60);
  });

  test("wait for one that fails, while those of other operations go on", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url);
    const [stuck, other] = [await bench.accept(), await bench.accept()];
    receiver.answer(({ message }) => ({ status: message.data["id"] === stuck ? 500 : 200 }));
    bench.start({ policy: { maxTries: 1_000_000, delayMs: () => 50 } });
    await bench.run(stuck);
    await bench.run(other);
    await until("the other operation is through", () =>
      receiver.received.some(({ message }) => message.data["id"] === other && message.data["done"] === true),
    );
    const ofStuck = () => receiver.received.filter(({ message }) => message.data["id"] === stuck);
    await until("the first is tried again", () => ofStuck().length > 2);
    expect(new Set(ofStuck().map(({ message }) => message.type))).toEqual(new Set(["operation.accepted"]));
    receiver.answer(() => ({ status: 200 }));
    await until(
      "the last has come",
      async () => (await bench.deliveries(webhook.id, "?status=pending")).length === 0,
    );
    expect(
      ofStuck()
        .slice(-3)
        .map(({ message }) => message.type),
    ).toEqual(["operation.accepted", "operation.started", "operation.succeeded"]);
  });

  test("go on after one that was given up", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url);
    receiver.answer(({ message }) => ({ status: message.type === "operation.accepted" ? 500 : 200 }));
    bench.start({ policy: { maxTries: 2 } });
    await bench.run(await bench.accept());
    await until(
      "nothing waits",
      async () => (await bench.deliveries(webhook.id, "?status=pending")).length === 0,
    );
    expect(typesAt(receiver)).toEqual([
      "operation.accepted",
      "operation.accepted",
      "operation.started",
      "operation.succeeded",
    ]);
  });
});

describe("a try that fails", () => {
  test("is made again under the same id, with a new time and signature, after a delay that grows", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    let count = 0;
    receiver.answer(() => {
      count += 1;
      return { status: count < 4 ? 503 : 200, body: `answer ${count}` };
    });
    const asked: number[] = [];
    const delayMs = (tries: number): number => {
      asked.push(tries);
      return 400 * tries;
    };
    bench.start({ policy: { maxTries: 5, delayMs } });
    await bench.accept();
    const received = await receiver.until(4);
    expect(new Set(received.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect(new Set(received.map(({ text }) => text)).size).toBe(1);
    // 400 + 800 + 1200 ms lie between the first and the last: seconds have passed.
    expect(new Set(received.map(({ headers }) => headers["webhook-timestamp"])).size).toBeGreaterThan(1);
    for (const each of received) expect(() => verify(webhook.secret, each)).not.toThrow();
    expect(asked).toEqual([1, 2, 3]);
    const delivery = await bench.untilDelivery(webhook.id, {
      status: "succeeded",
      tries: 3,
      nextAttemptAt: null,
    });
    expect(
      delivery.attempts.map(({ number, statusCode, response, error }) => [
        number,
        statusCode,
        response,
        error,
      ]),
    ).toEqual([
      [4, 200, "answer 4", null],
      [3, 503, "answer 3", "answered 503"],
      [2, 503, "answer 2", "answered 503"],
      [1, 503, "answer 1", "answered 503"],
    ]);
    expect((await bench.read(webhook.id)).failures).toBe(0);
  });

  test.each([
    ["seconds", () => "3600", 3_600],
    ["a date", () => new Date(Date.now() + 7_200_000).toUTCString(), 7_200],
    ["nonsense", () => "later", 60],
  ])("with %s in Retry-After is made again not before", async (_what, retryAfter, seconds) => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 429, headers: { "retry-after": retryAfter() } }));
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    bench.start({ policy: { delayMs: () => 60_000 } });
    await bench.accept();
    const { nextAttemptAt } = await bench.untilDelivery(webhook.id, { status: "pending", tries: 1 });
    const waits = (Date.parse(nextAttemptAt ?? "") - Date.now()) / 1_000;
    expect(Math.abs(waits - seconds)).toBeLessThan(30);
  });

  test("says why: no answer in time, a redirect, a refused connection", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    receiver.answer(() => new Promise(() => {}));
    bench.start({ timeoutMs: 200, policy: { maxTries: 1 } });
    await bench.accept();
    const late = await bench.untilDelivery(webhook.id, { status: "failed" });
    expect(late.lastAttempt).toMatchObject({
      statusCode: null,
      response: null,
      error: "no answer within 0.2 s",
    });
    expect(late.lastAttempt?.durationMs).toBeGreaterThanOrEqual(150);

    receiver.answer(() => ({ status: 302, headers: { location: receiver.url } }));
    await bench.accept();
    await until(
      "it was redirected",
      async () => (await bench.deliveries(webhook.id))[0]?.status === "failed",
    );
    const [moved] = await bench.deliveries(webhook.id);
    expect(moved?.lastAttempt).toMatchObject({ statusCode: 302 });
    expect(moved?.lastAttempt?.error).toContain("redirects are not followed");
    expect(receiver.received).toHaveLength(2);

    await receiver.close();
    await bench.accept();
    await until("it was refused", async () => (await bench.deliveries(webhook.id)).length === 3);
    const refused = await bench.untilDelivery(webhook.id, { status: "failed" });
    expect(refused.lastAttempt?.error).toBe("the connection was refused");
  });

  test("keeps the beginning of an answer that has no end, and waits for no more of it", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 200, body: Buffer.from(`a\0b${"é".repeat(2_000_000)}`) }));
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    bench.start();
    await bench.accept();
    const { lastAttempt } = await bench.untilDelivery(webhook.id, { status: "succeeded" });
    expect(lastAttempt?.response).toBe(`a\ufffdb${"é".repeat(997)}`);
  });
});

describe("an answer", () => {
  test.each(["silence", "break"] as const)(
    "with a good status is a success, once, where %s follows its headers and the beginning of its body",
    async (then) => {
      const receiver = await openReceiver();
      const headers = { "content-length": "1000" };
      receiver.answer(() => ({ status: 200, headers, body: "taken", then }));
      const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
      bench.start({ timeoutMs: 60_000, leaseMs: 60_000 });
      await bench.accept();
      const { tries, attempts } = await bench.untilDelivery(webhook.id, { nextAttemptAt: null });
      expect(tries).toBe(0);
      expect(attempts).toMatchObject([{ statusCode: 200, response: "taken", error: null }]);
      expect(receiver.received).toHaveLength(1);
    },
  );
});

describe("a receiver that is slow", () => {
  test("gets a few messages at a time, of all workers together, and holds up nobody else", async () => {
    const [slow, quick] = [await openReceiver(), await openReceiver()];
    const release: (() => void)[] = [];
    slow.answer(() => new Promise((resolve) => release.push(() => resolve({ status: 200 }))));
    const slowOne = await bench.create(slow.url, { events: ["operation.accepted"] });
    for (let i = 0; i < 12; i++) await bench.accept();
    for (let i = 0; i < 3; i++) bench.start({ perWebhook: 2 });
    await until("it has two messages", () => slow.open.now === 2);
    await bench.create(quick.url, { events: ["operation.accepted"] });
    for (let i = 0; i < 10; i++) await bench.accept();
    await quick.until(10);
    expect(slow.open).toEqual({ now: 2, most: 2 });
    await until("all have come", async () => {
      for (const each of release.splice(0)) each();
      return (await bench.deliveries(slowOne.id, "?status=pending")).length === 0;
    });
    expect(slow.open.most).toBe(2);
    expect(slow.received).toHaveLength(22);
  });

  test("of one organization leaves room for others in the same worker", async () => {
    const [slow, quick] = [await openReceiver(), await openReceiver()];
    const release: (() => void)[] = [];
    slow.answer(() => new Promise((resolve) => release.push(() => resolve({ status: 200 }))));
    for (let i = 0; i < 4; i++) await bench.create(slow.url, { events: ["operation.accepted"] });
    await bench.accept();
    bench.start({ concurrency: 4, perOrganization: 3 });
    await until("it has its share", () => slow.open.now === 3);
    const other = await bench.installation.createOrganization();
    const token = await bench.installation.token(other.client);
    await bench.create(quick.url, { events: ["operation.accepted"] }, token);
    await bench.accept({ organizationId: other.id, projectId: other.project.id });
    await quick.until(1);
    expect(slow.open).toEqual({ now: 3, most: 3 });
    await until("all have come", () => {
      for (const each of release.splice(0)) each();
      return slow.received.length === 4 && slow.open.now === 0;
    });
  });
});

test("a webhook gets the next place of its organization, before the backlog of those that are slow", async () => {
  const [slow, quick] = [await openReceiver(), await openReceiver()];
  const release: (() => void)[] = [];
  slow.answer(() => new Promise((resolve) => release.push(() => resolve({ status: 200 }))));
  for (let i = 0; i < 2; i++) await bench.create(slow.url, { events: ["operation.accepted"] });
  for (let i = 0; i < 6; i++) await bench.accept();
  bench.start({ perOrganization: 4, perWebhook: 2 });
  await until("the slow ones have all places", () => slow.open.now === 4);
  await bench.create(quick.url, { events: ["operation.accepted"] });
  await bench.accept();
  let before = 0;
  quick.answer(() => {
    before = slow.received.length;
    return { status: 200 };
  });
  release[0]?.();
  await quick.until(1);
  expect(before).toBe(4);
});

describe("a webhook that fails", () => {
  test("is disabled at once where the receiver answers 410, with an audit event, and gets nothing more", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 410 }));
    const webhook = await bench.create(receiver.url);
    bench.start();
    await bench.run(await bench.accept());
    await until("it is disabled", async () => !(await bench.read(webhook.id)).enabled);
    expect(await bench.read(webhook.id)).toMatchObject({ disabledReason: "gone" });
    expect(await audited(webhook)).toMatchObject([
      {
        action: "webhook.disable",
        outcome: "failure",
        actor: { kind: "system" },
        details: { reason: "gone" },
      },
    ]);
    await bench.accept();
    const all = await bench.deliveries(webhook.id);
    expect(all.map(({ status }) => status)).toEqual(["pending", "pending", "failed"]);
    expect(receiver.received).toHaveLength(1);
  });

  test("is disabled when all tries of several deliveries failed for long enough, and no sooner", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 500 }));
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    const day = 24 * 3_600_000;
    bench.start({ policy: { maxTries: 2, disableAfterFailures: 6, disableAfterMs: day } });
    for (let i = 0; i < 4; i++) await bench.accept();
    const failed = async (count: number) =>
      (await bench.deliveries(webhook.id, "?status=failed")).length === count;
    await until("four were given up", () => failed(4));
    // Eight failures, but within a moment.
    expect(await bench.read(webhook.id)).toMatchObject({ enabled: true, failures: 8 });
    await bench.installation.database.query(
      "UPDATE webhooks SET failing_since = now() - interval '25 hours' WHERE id = $1",
      [webhook.id],
    );
    await bench.accept();
    await until("it is disabled", async () => !(await bench.read(webhook.id)).enabled);
    expect(await bench.read(webhook.id)).toMatchObject({ disabledReason: "failing", failures: 9 });
    expect(await audited(webhook)).toMatchObject([{ details: { reason: "failing", failures: 9 } }]);
  });

  test("goes on where it was when it is enabled again, and starts to count anew", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 410 }));
    const webhook = await bench.create(receiver.url);
    bench.start();
    const id = await bench.accept();
    await bench.run(id);
    await until("it is disabled", async () => !(await bench.read(webhook.id)).enabled);
    receiver.answer(() => ({ status: 200 }));
    const enabled = await bench.installation.call<WebhookAnswer>(
      "POST",
      `/api/v1/webhooks/${webhook.id}/enable`,
    );
    expect(enabled.body).toMatchObject({
      enabled: true,
      disabledReason: null,
      failures: 0,
      failingSince: null,
    });
    await until("all have come", () => typesAt(receiver).includes("operation.succeeded"));
    expect(typesAt(receiver)).toEqual(["operation.accepted", "operation.started", "operation.succeeded"]);
  });

  test("is counted out by one good answer", async () => {
    const receiver = await openReceiver();
    receiver.answer(({ message }) => ({ status: message.type === "operation.accepted" ? 500 : 200 }));
    const webhook = await bench.create(receiver.url);
    const id = await bench.accept();
    bench.start({ policy: { maxTries: 3, disableAfterFailures: 4 } });
    await until("it fails", async () => (await bench.read(webhook.id)).failures === 3);
    expect((await bench.read(webhook.id)).failingSince).not.toBeNull();
    await bench.run(id);
    await until("it is well", async () => (await bench.read(webhook.id)).failures === 0);
    await bench.accept();
    await until("it fails again", async () => (await bench.read(webhook.id)).failures === 3);
    expect((await bench.read(webhook.id)).enabled).toBe(true);
  });

  test("is counted neither up nor out by a ping that fails", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 500 }));
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    bench.start({ policy: { maxTries: 2 } });
    await bench.accept();
    await until("it fails", async () => (await bench.read(webhook.id)).failures === 2);
    const { failingSince } = await bench.read(webhook.id);
    await bench.installation.call("POST", `/api/v1/webhooks/${webhook.id}/test`);
    await until("both were given up", async () => {
      const failed = await bench.deliveries(webhook.id, "?status=failed");
      return failed.length === 2 && failed.some(({ eventType }) => eventType === "webhook.ping");
    });
    expect(await bench.read(webhook.id)).toMatchObject({ enabled: true, failures: 2, failingSince });
  });

  test("gets one message at a time, and many again when it is well", async () => {
    const receiver = await openReceiver();
    receiver.answer(() => ({ status: 500 }));
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    bench.start({ perWebhook: 8, policy: { maxTries: 1_000_000, delayMs: () => 20 } });
    await bench.accept();
    await until("it fails", async () => (await bench.read(webhook.id)).failures > 0);
    for (let i = 0; i < 10; i++) await bench.accept();
    await until("all were tried", async () =>
      (await bench.deliveries(webhook.id)).every(({ tries }) => tries > 0),
    );
    expect(receiver.open.most).toBe(1);
    receiver.answer(() => ({ status: 200 }));
    await until(
      "all have come",
      async () => (await bench.deliveries(webhook.id, "?status=pending")).length === 0,
    );
  });
});

describe("a try on its way while the webhook is moved", () => {
  /** A delivery on its way to a receiver that the webhook has left; `answer` lets that one speak. */
  async function moveInFlight(receiver: Receiver, next: Receiver) {
    const release = receiver.hold();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    // One try is all there is, and one failure disables.
    bench.start({ policy: { maxTries: 1, disableAfterFailures: 1 } });
    await bench.accept();
    await receiver.until(1);
    const moved = await bench.installation.call("PATCH", `/api/v1/webhooks/${webhook.id}`, {
      body: { url: next.url },
    });
    expect(moved.status).toBe(200);
    return { webhook, answer: (status: number) => release({ status }) };
  }

  test.each([410, 500])(
    "counts for nothing where the receiver before answers %d: it goes to the new one at once",
    async (status) => {
      const [old, next] = [await openReceiver(), await openReceiver()];
      const { webhook, answer } = await moveInFlight(old, next);
      answer(status);
      await next.until(1);
      const { tries, attempts } = await bench.untilDelivery(webhook.id, { status: "succeeded" });
      expect(tries).toBe(0);
      expect(attempts.map(({ number, statusCode }) => [number, statusCode])).toEqual([
        [2, 200],
        [1, status],
      ]);
      expect(await bench.read(webhook.id)).toMatchObject({ enabled: true, failures: 0, url: next.url });
      expect(await audited(webhook)).toEqual([]);
    },
  );

  test("has delivered where the receiver before takes it, which says nothing of the new one", async () => {
    const [old, next] = [await openReceiver(), await openReceiver()];
    const { webhook, answer } = await moveInFlight(old, next);
    const { database } = bench.installation;
    await database.query("UPDATE webhooks SET failures = 7, failing_since = now() WHERE id = $1", [
      webhook.id,
    ]);
    answer(200);
    await bench.untilDelivery(webhook.id, { status: "succeeded" });
    expect(await bench.read(webhook.id)).toMatchObject({ failures: 7 });
    expect(next.received).toEqual([]);
  });
});

describe("for those who watch", () => {
  test("each try counts by what came of it, and the installation tells what waits, and for how long", async () => {
    const { runtime } = bench.installation;
    const scrape = async (metrics: Metrics) => {
      const text = await metrics.metrics();
      const tries = ["succeeded", "retried", "given_up"].map((outcome) =>
        sampleOf(text, "gatehouse_webhook_tries_total", { outcome }),
      );
      const pending = sampleOf(text, "gatehouse_webhook_deliveries_pending");
      return { tries, pending, age: sampleOf(text, "gatehouse_webhook_oldest_due_seconds") ?? -1 };
    };
    /** What was measured is kept for a while: each look has a measurement of its own. */
    const backlog = async () => {
      const metrics = createMetrics("test");
      showWebhookBacklog(metrics, runtime.db, runtime.logger);
      return scrape(metrics);
    };
    expect(await backlog()).toMatchObject({ pending: 0, age: 0 });
    const receiver = await openReceiver();
    receiver.answer(({ message }) => ({ status: message.type === "operation.accepted" ? 500 : 200 }));
    const webhook = await bench.create(receiver.url, {
      events: ["operation.accepted", "operation.succeeded"],
    });
    await bench.run(await bench.accept());
    await bench.installation.database.query(
      "UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 minute' WHERE webhook_id = $1",
      [webhook.id],
    );
    const before = await backlog();
    expect(before.pending).toBe(2);
    expect(Math.round(before.age / 60)).toBe(1);
    const mine = createMetrics("test");
    bench.start({ observe: observeDeliveries(mine) });
    await until("it is sent", async () => (await backlog()).pending === 0);
    expect((await scrape(mine)).tries).toEqual([1, 2, 1]);
    // What nobody may send is no backlog.
    await bench.stopAll();
    await bench.accept();
    await bench.installation.database.query("UPDATE webhooks SET disabled_at = now() WHERE id = $1", [
      webhook.id,
    ]);
    expect(await backlog()).toMatchObject({ pending: 0, age: 0 });
  });
});

describe("a deliverer that stops", () => {
  test("waits for what is on its way, and claims no more", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    let release = (): void => {};
    receiver.answer(
      () =>
        new Promise((resolve) => {
          release = () => resolve({ status: 200 });
        }),
    );
    const deliverer = bench.start();
    await bench.accept();
    await receiver.until(1);
    const stopped = deliverer.stop(60_000);
    await bench.accept();
    release();
    await stopped;
    expect((await bench.deliveries(webhook.id)).map(({ status }) => status)).toEqual([
      "pending",
      "succeeded",
    ]);
  });

  test("hands over what does not end in time: another sends it at once, under the same id", async () => {
    const receiver = await openReceiver();
    const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
    receiver.answer(() => new Promise(() => {}));
    const deliverer = bench.start({ timeoutMs: 60_000, leaseMs: 60_000 });
    await bench.accept();
    await receiver.until(1);
    await deliverer.stop(0);
    receiver.answer(() => ({ status: 200 }));
    bench.start();
    const [first, second] = await receiver.until(2);
    expect(second?.message.id).toBe(first?.message.id);
    // It cost no try.
    await bench.untilDelivery(webhook.id, { status: "succeeded", tries: 0 });
  });
});

test("a deliverer whose lease has run out changes nothing, and the one that took over ends it", async () => {
  const receiver = await openReceiver();
  const webhook = await bench.create(receiver.url, { events: ["operation.accepted"] });
  const answers: ((status: number) => void)[] = [];
  receiver.answer(() => new Promise((resolve) => answers.push((status) => resolve({ status }))));
  bench.start({ leaseMs: 60_000 });
  await bench.accept();
  await receiver.until(1);
  await bench.installation.database.query(
    "UPDATE webhook_deliveries SET lease_expires_at = now() - interval '1 second', leased_by = 'nobody' WHERE webhook_id = $1",
    [webhook.id],
  );
  await until("it was sent again", () => receiver.received.length === 2);
  answers[1]?.(200);
  const delivery = await bench.untilDelivery(webhook.id, { status: "succeeded" });
  answers[0]?.(500);
  await bench.stopAll();
  expect(await bench.untilDelivery(webhook.id, {})).toEqual(delivery);
  expect(delivery.attempts).toHaveLength(1);
});

interface AuditAnswer {
  readonly action: string;
  readonly outcome: string;
  readonly actor: { readonly kind: string };
  readonly details: Readonly<Record<string, unknown>>;
}

async function audited({ id }: WebhookAnswer): Promise<AuditAnswer[]> {
  const url = `/api/v1/audit-events?targetId=${id}&action=webhook.disable`;
  return (await bench.installation.call<{ items: AuditAnswer[] }>("GET", url)).body.items;
}

test("an operation that succeeded tells its result", async () => {
  const receiver = await openReceiver();
  await bench.create(receiver.url, { events: ["operation.succeeded"] });
  bench.start();
  await bench.run(await bench.accept(), SUCCEEDED);
  const [first] = await receiver.until(1);
  expect(first?.message.data["result"]).toEqual({ rows: 1 });
});
