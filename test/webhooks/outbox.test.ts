import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { pruneWebhooks } from "../../src/domain/webhooks/retention.js";
import type { OperationRequest } from "../../src/operations/new-operation.js";
import { newId } from "../../src/platform/ids.js";
import { lockless, wish } from "../operations/support.js";
import { openWebhookBench, type WebhookBench } from "./bench.js";

let bench: WebhookBench;
/** Nobody delivers here. */
const URL = "http://127.0.0.1:9/";

beforeAll(async () => {
  bench = await openWebhookBench();
});
beforeEach(async () => {
  const { database } = bench.installation;
  await database.query("DELETE FROM webhook_events");
  await database.query("DELETE FROM webhooks");
});
afterAll(() => bench.close());

const typesOf = async (id: string): Promise<string[]> =>
  (await bench.deliveries(id)).map(({ eventType }) => eventType).reverse();

const eventCount = async (): Promise<number> => {
  const text = "SELECT count(*)::int AS count FROM webhook_events";
  return (await bench.installation.database.query<{ count: number }>(text))[0]?.count ?? -1;
};

describe("the outbox", () => {
  test("holds every new status of an operation, and nothing else of it", async () => {
    const webhook = await bench.create(URL);
    const { ledger } = bench.installation.runtime;
    const id = await bench.accept();
    const claimed = await ledger.claim(id, "a test", 60_000);
    await ledger.renew(id, 1, 60_000);
    await ledger.recordProgress(id, 1, { percent: 50, message: "half" });
    const step = { name: "copy", startedAt: "2026-01-01T00:00:00.000Z", finishedAt: null, message: null };
    await ledger.recordSteps(id, 1, [{ ...step, status: "running", value: "not for clients" }]);
    await ledger.handOver(id, 1);
    const again = await ledger.claim(id, "another", 60_000);
    expect([claimed?.attempt, again?.attempt]).toEqual([1, 2]);
    await ledger.finish(id, 2, { status: "succeeded", result: {} }, async () => {});
    expect(await typesOf(webhook.id)).toEqual([
      "operation.accepted",
      "operation.started",
      "operation.succeeded",
    ]);
    const [last] = await bench.deliveries(webhook.id);
    const details = await bench.installation.call(
      "GET",
      `/api/v1/webhooks/${webhook.id}/deliveries/${last?.id}`,
    );
    // It was under way when the operation ended, so it has ended with it.
    const ended = { ...step, status: "succeeded", finishedAt: expect.any(String) };
    expect(details.body).toMatchObject({ message: { data: { steps: [ended] } } });
    expect(details.text).not.toContain("not for clients");
  });

  test("tells each organization of its own, where those of several are accepted in one statement", async () => {
    const { db, ledger } = bench.installation.runtime;
    const { organizationId, project, database } = bench.installation;
    const webhook = await bench.create(URL);
    await bench.create(URL, { projectId: project.id, operationTypes: ["check"] });
    const unheard = newId();
    const rows = vi.spyOn(db, "rows");
    const mine = { organizationId, projectId: project.id };
    const accepted = await Promise.all(
      [mine, { organizationId: unheard }, mine, { organizationId: newId() }, mine].map((more) =>
        ledger.accept(lockless(more)),
      ),
    );
    // Workers and dispatchers look for something to do meanwhile.
    const statements = rows.mock.calls.map(([statement]) =>
      typeof statement === "string" ? "" : statement.name,
    );
    expect(statements.filter((name) => name === "operations_accept")).toHaveLength(1);
    rows.mockRestore();
    const told = await database.query<{ id: string; organization: string; operation: string }>(
      `SELECT webhook_id AS id, organization_id AS organization, operation_id AS operation
       FROM webhook_deliveries ORDER BY id`,
    );
    const [first, , third, , fifth] = accepted.map(({ id }) => id);
    expect(told).toEqual(
      [first, third, fifth].map((operation) => ({ id: webhook.id, organization: organizationId, operation })),
    );
    expect(await eventCount()).toBe(3);
  });

  test("tells of a cancellation, and of its end", async () => {
    const webhook = await bench.create(URL);
    const id = await bench.accept();
    const { status } = await bench.installation.call("POST", `/api/v1/operations/${id}/cancel`);
    expect(status).toBe(202);
    await bench.run(id, { status: "cancelled" });
    expect(await typesOf(webhook.id)).toEqual([
      "operation.accepted",
      "operation.cancelling",
      "operation.cancelled",
    ]);
  });

  test("holds nothing of what was rolled back", async () => {
    await bench.create(URL);
    const { db, ledger } = bench.installation.runtime;
    const { organizationId, project } = bench.installation;
    const request = wish({ organizationId, projectId: project.id });
    const failing = db.transaction(async (tx) => {
      await ledger.request(tx, request);
      throw new Error("the rest failed");
    });
    await expect(failing).rejects.toThrow("the rest failed");
    const id = await bench.accept();
    const claimed = await ledger.claim(id, "a test", 60_000);
    const settle = async (): Promise<never> => {
      throw new Error("the rest failed");
    };
    const finished = ledger.finish(id, claimed?.attempt ?? 0, { status: "cancelled" }, settle);
    await expect(finished).rejects.toThrow("the rest failed");
    expect(await eventCount()).toBe(2);
  });

  test("stays empty where nobody wants to hear", async () => {
    const run = async () => bench.run(await bench.accept());
    await run();
    const webhook = await bench.create(URL);
    const other = await bench.installation.createOrganization();
    await bench.accept({ organizationId: other.id, projectId: other.project.id });
    await bench.installation.call("POST", `/api/v1/webhooks/${webhook.id}/disable`);
    await run();
    await bench.installation.call("DELETE", `/api/v1/webhooks/${webhook.id}`);
    await run();
    expect(await eventCount()).toBe(0);
  });

  const project = () => bench.installation.project.id;
  test.each<[string, object, Partial<OperationRequest>, string[]]>([
    ["one event", { events: ["operation.started"] }, {}, ["operation.started"]],
    [
      "all of operations",
      { events: ["operation.*"] },
      {},
      ["operation.accepted", "operation.started", "operation.failed"],
    ],
    [
      "its type",
      { operationTypes: ["check", "sync"], events: ["operation.failed"] },
      {},
      ["operation.failed"],
    ],
    ["other types", { operationTypes: ["check"] }, {}, []],
    [
      "types that begin so",
      { operationTypes: ["s*"], events: ["operation.failed"] },
      {},
      ["operation.failed"],
    ],
    ["types that begin otherwise", { operationTypes: ["d*"] }, {}, []],
    ["a type with what LIKE takes for any character", { operationTypes: ["s_nc"] }, {}, []],
    [
      "operations of the organization",
      { events: ["operation.failed"] },
      { projectId: null },
      ["operation.failed"],
    ],
    ["another project", { projectId: "other" }, {}, []],
    ["its project", { projectId: "default", events: ["operation.failed"] }, {}, ["operation.failed"]],
    ["a project, but the operation has none", { projectId: "default" }, { projectId: null }, []],
  ])("holds for a webhook that asks for %s just that", async (_what, asked, request, types) => {
    const found = await bench.installation.call("GET", "/api/v1/projects/other");
    if (found.status === 404) await bench.installation.createProject({ slug: "other" });
    const webhook = await bench.create(URL, asked);
    const id = await bench.accept({ projectId: project(), ...request });
    await bench.run(id, { status: "failed", error: { type: "t", title: "t", status: 500, detail: "d" } });
    expect(await typesOf(webhook.id)).toEqual(types);
  });

  test("holds one event for any number of webhooks", async () => {
    for (let i = 0; i < 3; i++) await bench.create(URL, { events: ["operation.accepted"] });
    await bench.accept();
    expect(await eventCount()).toBe(1);
    const rows = await bench.installation.database.query("SELECT 1 FROM webhook_deliveries");
    expect(rows).toHaveLength(3);
  });
});

describe("what was sent", () => {
  test("goes when it is old, with its tries, in batches; what is younger stays", async () => {
    const webhook = await bench.create(URL, { events: ["operation.accepted"] });
    const { db } = bench.installation.runtime;
    const old = new Date(Date.now() - 10 * 86_400_000).getTime().toString(16).padStart(12, "0");
    await db.run(
      `INSERT INTO webhook_events (id, organization_id, type, data, occurred_at)
       SELECT ($2 || substr(md5(n::text), 13))::uuid, $1, 'webhook.ping', '{}', now() FROM generate_series(1, 2500) n`,
      [bench.installation.organizationId, old],
    );
    await db.run(
      `INSERT INTO webhook_deliveries (id, organization_id, webhook_id, event_id, event_type)
       SELECT gatehouse_uuidv7(), organization_id, $1, id, type FROM webhook_events`,
      [webhook.id],
    );
    await bench.accept();
    expect(await pruneWebhooks(db, 9, AbortSignal.abort())).toBe(0);
    expect(await pruneWebhooks(db, 9)).toBe(2_500);
    expect(await typesOf(webhook.id)).toEqual(["operation.accepted"]);
    expect(await pruneWebhooks(db, 9)).toBe(0);
  });

  test("to a webhook that was deleted goes with it", async () => {
    const webhook = await bench.create(URL);
    await bench.accept();
    await bench.installation.call("DELETE", `/api/v1/webhooks/${webhook.id}`);
    const { db } = bench.installation.runtime;
    expect(await pruneWebhooks(db, 9)).toBe(0);
    await db.run("UPDATE webhooks SET deleted_at = now() - interval '2 hours'");
    expect(await pruneWebhooks(db, 9)).toBe(1);
    expect(await bench.installation.database.query("SELECT 1 FROM webhooks")).toEqual([]);
  });

  test("with a secret that has ended goes without the secret", async () => {
    const webhook = await bench.create(URL);
    const { db } = bench.installation.runtime;
    await bench.installation.call("POST", `/api/v1/webhooks/${webhook.id}/secrets`, {
      body: { graceSeconds: 60 },
    });
    await pruneWebhooks(db, 9);
    expect((await bench.read(webhook.id)).secrets).toHaveLength(2);
    await db.run(
      "UPDATE webhook_secrets SET expires_at = now() - interval '1 second' WHERE expires_at IS NOT NULL",
    );
    await pruneWebhooks(db, 9);
    expect((await bench.read(webhook.id)).secrets).toHaveLength(1);
  });
});

test("a UUIDv7 of the database is one, and of now", async () => {
  const rows = await bench.installation.database.query<{ id: string }>(
    "SELECT gatehouse_uuidv7()::text AS id FROM generate_series(1, 100)",
  );
  const now = Date.now();
  for (const { id } of rows) {
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(Math.abs(Number.parseInt(id.replace("-", "").slice(0, 12), 16) - now)).toBeLessThan(60_000);
  }
  expect(new Set(rows.map(({ id }) => id)).size).toBe(100);
  expect(newId() > (rows[0]?.id ?? "")).toBe(true);
});
