import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { MasterKey } from "../../src/platform/crypto.js";
import { queueBackends } from "../support/backends.js";
import { endAllProcesses, type ProcessEnv, startWorkerOf, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";
import { openWebhookBench, type WebhookAnswer, type WebhookBench } from "../webhooks/bench.js";
import { closeReceivers, openReceiver, type Receiver, verify } from "../webhooks/receiver.js";

/** From the kill to the delivery by another, with the timing that users get. */
const PROMISED_MS = 15_000;
const OPERATIONS = 6;
const TYPES = ["operation.accepted", "operation.started", "operation.succeeded"];

// On a machine that is busy with other things too.
vi.setConfig({ testTimeout: 120_000 });

describe.each(await queueBackends())("on $name: when a worker that delivers", (backend) => {
  const masterKey = MasterKey.generate();
  let bench: WebhookBench;
  beforeAll(async () => {
    const redisUrl = backend.redis === null ? {} : { redisUrl: backend.redis.url };
    bench = await openWebhookBench({ ...redisUrl, env: { GATEHOUSE_MASTER_KEY: masterKey } });
  });
  afterEach(async () => {
    await endAllProcesses();
    await closeReceivers();
    await bench.installation.database.query("UPDATE webhooks SET deleted_at = now()");
  });
  afterAll(() => bench.close());

  function startWorker(env: ProcessEnv = {}): Promise<TestProcess> {
    return startWorkerOf(bench.installation, masterKey, { ...backend.env, ...env });
  }

  /** Operations that have ended, and a worker whose receiver does not answer. */
  async function inTheMidst() {
    const receiver = await openReceiver();
    receiver.answer(() => new Promise(() => {}));
    const webhook = await bench.create(receiver.url);
    const ids = [];
    for (let i = 0; i < OPERATIONS; i++) ids.push(await bench.accept());
    for (const id of ids) await bench.run(id);
    const victim = await startWorker();
    await until("messages are on their way", () => receiver.open.now === 4);
    return { receiver, webhook, ids, victim, cut: receiver.received.length };
  }

  /** That every event has come, each operation's in their order, under one id each, and is recorded as delivered. */
  async function allHaveCome(receiver: Receiver, webhook: WebhookAnswer, ids: readonly string[]) {
    const done = async () =>
      (await bench.deliveries(webhook.id, "?status=succeeded")).length === TYPES.length * OPERATIONS;
    await until("everything is delivered", done, 2 * PROMISED_MS);
    for (const each of receiver.received) verify(webhook.secret, each);
    for (const id of ids) {
      const ofOne = receiver.received.filter(({ message }) => message.data["id"] === id);
      expect([...new Set(ofOne.map(({ message }) => message.type))]).toEqual(TYPES);
      expect(new Set(ofOne.map(({ headers }) => headers["webhook-id"])).size).toBe(TYPES.length);
    }
  }

  test("is killed in mid-delivery, another delivers within 15 s, under the same ids, and nothing is lost", async () => {
    const { receiver, webhook, ids, victim, cut } = await inTheMidst();
    await startWorker();
    receiver.answer(() => ({ status: 200 }));
    const killed = performance.now();
    await victim.end("SIGKILL");
    await receiver.until(cut + 1);
    expect(performance.now() - killed).toBeLessThan(PROMISED_MS);
    await allHaveCome(receiver, webhook, ids);
    const again = receiver.received.slice(cut).map(({ message }) => message.id);
    for (const { message } of receiver.received.slice(0, cut)) expect(again).toContain(message.id);
  });

  test("is stopped beyond its lease, another delivers, and when it wakes up it changes nothing", async () => {
    const { receiver, webhook, ids, victim } = await inTheMidst();
    victim.signal("SIGSTOP");
    receiver.answer(() => ({ status: 200 }));
    await startWorker();
    await allHaveCome(receiver, webhook, ids);
    const before = await everything();
    victim.signal("SIGCONT");
    await until("it has let go of what it held", () => receiver.open.now === 0);
    expect(await victim.end("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(await everything()).toEqual(before);
  });

  test("is told to stop, it lets what is on its way end, and others go on", async () => {
    const { receiver, webhook, ids, victim } = await inTheMidst();
    await startWorker();
    const gone = victim.end("SIGTERM");
    receiver.answer(() => ({ status: 200 }));
    expect(await gone).toEqual({ code: 0, signal: null });
    await allHaveCome(receiver, webhook, ids);
  });

  /** What a late writer could have changed of deliveries that are done. */
  const everything = () =>
    bench.installation.database.query(
      `SELECT d.position::int, d.status, d.tries, d.attempt, d.finished_at, a.number, a.status_code, a.error
       FROM webhook_deliveries d JOIN webhook_attempts a ON a.delivery_id = d.id
       WHERE d.status = 'succeeded' ORDER BY d.position, a.number`,
    );
});
