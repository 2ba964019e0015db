import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { openWebhookBench, type WebhookBench } from "../../webhooks/bench.js";
import { closeReceivers, openReceiver, verify } from "../../webhooks/receiver.js";
import { auditOf, type Caller, callerOf, callerWith, statusOf } from "../access/support.js";

interface SettingsAnswer {
  readonly success: boolean;
  readonly message: string;
  readonly data: {
    readonly project_id: number;
    readonly webhook_alert_url: string | null;
    readonly webhook_id: string | null;
    readonly webhook_enabled: boolean;
    readonly webhook_secret?: string;
  };
}

let bench: WebhookBench;
let admin: Caller;
const SETTINGS = "/api/v1/project/default/settings";
const FAILED = {
  status: "failed",
  error: { type: "t", title: "t", status: 500, detail: "the disk is full" },
} as const;

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

const put = (url: string | null, caller = admin) =>
  caller<SettingsAnswer>("PUT", SETTINGS, { webhook_alert_url: url });

test("a project has no alert URL at first", async () => {
  const read = await admin<SettingsAnswer>("GET", SETTINGS);
  statusOf(read, 200);
  expect(read.body).toEqual({
    success: true,
    message: "success",
    data: {
      project_id: bench.installation.project.number,
      webhook_alert_url: null,
      webhook_id: null,
      webhook_enabled: false,
    },
  });
});

test("an alert URL is told of failed syncs of the project, and of nothing else, by a webhook like any other", async () => {
  const receiver = await openReceiver("/alerts");
  const saved = await put(receiver.url);
  statusOf(saved, 200);
  const { webhook_id: id, webhook_secret: secret } = saved.body.data;
  if (id === null || secret === undefined) throw new Error(saved.text);
  const { data } = (await admin<SettingsAnswer>("GET", SETTINGS)).body;
  expect(data).toMatchObject({ webhook_alert_url: receiver.url, webhook_id: id, webhook_enabled: true });
  expect(data).not.toHaveProperty("webhook_secret");
  expect(await bench.read(id)).toMatchObject({
    ...{ purpose: "alert", url: receiver.url, projectId: bench.installation.project.id },
    ...{ events: ["operation.failed"], operationTypes: ["sync"] },
  });
  bench.start();
  const other = await bench.installation.createProject();
  await bench.run(await bench.accept());
  await bench.run(await bench.accept({ operationType: "check" }), FAILED);
  await bench.run(await bench.accept({ projectId: other.id }), FAILED);
  const sync = await bench.accept();
  await bench.run(sync, FAILED);
  const [first] = await receiver.until(1);
  if (first === undefined) throw new Error("nothing came");
  expect(verify(secret, first)).toMatchObject({
    type: "operation.failed",
    data: { id: sync, error: { detail: "the disk is full" } },
  });
  await bench.stopAll();
  expect(receiver.received).toHaveLength(1);
});

test("another URL moves the webhook, which keeps its secret; the same one enables it again", async () => {
  const made = await put("https://hooks.example.com/a");
  const id = made.body.data.webhook_id ?? "";
  const moved = await put("https://hooks.example.com/b");
  expect(moved.body.data).toEqual({
    project_id: bench.installation.project.number,
    webhook_alert_url: "https://hooks.example.com/b",
    webhook_id: id,
    webhook_enabled: true,
  });
  await admin("POST", `/api/v1/webhooks/${id}/disable`);
  expect((await admin<SettingsAnswer>("GET", SETTINGS)).body.data.webhook_enabled).toBe(false);
  const again = await put("https://hooks.example.com/b");
  expect(again.body.data).toMatchObject({ webhook_id: id, webhook_enabled: true });
  expect((await auditOf(bench.installation, id)).map(({ action }) => action)).toEqual([
    "webhook.create",
    "webhook.update",
    "webhook.disable",
    "webhook.enable",
  ]);
});

test("another URL is not disabled by what the one before answers late", async () => {
  const [old, next] = [await openReceiver(), await openReceiver()];
  const release = old.hold();
  await put(old.url);
  bench.start();
  await bench.run(await bench.accept(), FAILED);
  await old.until(1);
  await put(next.url);
  release({ status: 410 });
  await next.until(1);
  expect((await admin<SettingsAnswer>("GET", SETTINGS)).body.data).toMatchObject({
    webhook_alert_url: next.url,
    webhook_enabled: true,
  });
});

test.each([
  ["an empty URL", ""],
  ["null", null],
])("%s removes it, and again changes nothing", async (_what, none) => {
  const made = await put("https://hooks.example.com/a");
  for (const _twice of [1, 2]) {
    const removed = await put(none);
    statusOf(removed, 200);
    expect(removed.body.data).toMatchObject({ webhook_alert_url: null, webhook_id: null });
  }
  statusOf(await admin("GET", `/api/v1/webhooks/${made.body.data.webhook_id}`), 404);
});

test("one webhook is made, however many ask at once", async () => {
  const answers = await Promise.all([1, 2, 3, 4].map(() => put("https://hooks.example.com/a")));
  for (const answer of answers) statusOf(answer, 200);
  expect(new Set(answers.map(({ body }) => body.data.webhook_id)).size).toBe(1);
  expect(answers.filter(({ body }) => body.data.webhook_secret !== undefined)).toHaveLength(1);
});

test("what is no URL, or no text, is a 400 in the text's envelope", async () => {
  for (const body of [{ webhook_alert_url: "nowhere" }, { webhook_alert_url: 1 }, {}]) {
    const refused = await admin<{ success: boolean; message: string }>("PUT", SETTINGS, body);
    statusOf(refused, 400);
    expect(refused.body).toMatchObject({ success: false, message: "Bad request" });
  }
});

test("nobody, a token without the scope and another project's client are refused", async () => {
  const nobody = await callerOf(bench.installation, null);
  statusOf(await nobody("GET", SETTINGS), 401);
  statusOf(await put("https://hooks.example.com/a", nobody), 401);
  const reader = await callerWith(bench.installation, { scopes: ["setting:read", "operation:read"] });
  statusOf(await reader("GET", SETTINGS), 200);
  statusOf(await put("https://hooks.example.com/a", reader), 403);
  const blind = await callerWith(bench.installation, { scopes: ["setting:write"] });
  statusOf(await put("https://hooks.example.com/a", blind), 403);
  const mine = await bench.installation.createProject();
  const limited = await callerWith(bench.installation, { projects: [mine.id] });
  statusOf(await limited("GET", SETTINGS), 404);
  statusOf(await put("https://hooks.example.com/a", limited), 404);
  const own = `/api/v1/project/${mine.slug}/settings`;
  statusOf(await limited("PUT", own, { webhook_alert_url: "https://hooks.example.com/a" }), 200);
});
