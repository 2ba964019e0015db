import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OperationsBench, openOperations } from "../http/operations/support.js";
import { until } from "../support/until.js";
import { sampleOf, samplesOf } from "./support.js";

let bench: OperationsBench;
beforeAll(async () => {
  bench = await openOperations();
});
afterAll(() => bench.close());

async function scrape(): Promise<string> {
  const answer = await bench.gatehouse.call("GET", "/metrics");
  expect(answer.status, answer.text).toBe(200);
  expect(answer.headers["content-type"]).toContain("version=0.0.4");
  return answer.text;
}

describe("/metrics on the api's port", () => {
  test("is for who may read the whole installation, and for no tenant", async () => {
    const tenant = await bench.gatehouse.createOrganization();
    expect((await bench.gatehouse.call("GET", "/metrics", { token: null })).status).toBe(401);
    const token = await bench.gatehouse.token(tenant.client);
    expect((await bench.gatehouse.call("GET", "/metrics", { token })).status).toBe(403);
    const watcher = await bench.gatehouse.createClient({ scopes: ["platform:metrics"] });
    const allowed = { token: await bench.gatehouse.token(watcher) };
    expect((await bench.gatehouse.call("GET", "/metrics", allowed)).status).toBe(200);
    expect((await bench.gatehouse.call("GET", "/api/v1/operations", allowed)).status).toBe(403);
  });

  test("counts and measures a sync from its acceptance to its end", async () => {
    const { id } = (await bench.sync(await bench.quickJob())).body;
    expect(await bench.gatehouse.waitDone(id)).toMatchObject({ status: "succeeded" });
    const text = await scrape();
    const accepted = sampleOf(text, "gatehouse_operations_accepted_total", { type: "sync" });
    expect(accepted).toBeGreaterThan(0);
    const ended = { type: "sync", status: "succeeded" };
    expect(sampleOf(text, "gatehouse_operations_finished_total", ended)).toBe(accepted);
    for (const name of ["gatehouse_operation_duration_seconds", "gatehouse_operation_dispatch_lag_seconds"]) {
      expect(sampleOf(text, `${name}_count`, { type: "sync" }), name).toBe(accepted);
      expect(sampleOf(text, `${name}_sum`, { type: "sync" }), name).toBeGreaterThan(0);
    }
  });

  test("does not count what was rolled back", async () => {
    const job = await bench.slowJob();
    const release = await bench.hold();
    const first = await bench.sync(job);
    const before = sampleOf(await scrape(), "gatehouse_operations_accepted_total", { type: "sync" });
    expect((await bench.sync(job)).status).toBe(409);
    expect(sampleOf(await scrape(), "gatehouse_operations_accepted_total", { type: "sync" })).toBe(before);
    await release();
    await bench.gatehouse.waitDone(first.body.id);
  });

  test("names requests by the pattern of their route, never by what the client sent", async () => {
    const { id } = (await bench.sync(await bench.quickJob())).body;
    await bench.read(id);
    await bench.gatehouse.call("GET", "/nothing/is/here-4711");
    await bench.gatehouse.call("GET", "/api/v1/jobs?cursor=made-up-4712");
    await bench.gatehouse.waitDone(id);
    const text = await scrape();
    const read = { method: "GET", route: "/api/v1/operations/:id", status: "200" };
    expect(sampleOf(text, "gatehouse_http_requests_total", read)).toBeGreaterThan(0);
    const timed = { method: "GET", route: "/api/v1/operations/:id" };
    expect(sampleOf(text, "gatehouse_http_request_duration_seconds_count", timed)).toBeGreaterThan(0);
    expect(sampleOf(text, "gatehouse_http_requests_total", { route: "none", status: "404" })).toBeGreaterThan(
      0,
    );
    // In labels: a measured number may hold any digits.
    expect(text).not.toMatch(/\{[^}\n]*471[12]/);
  });

  test("counts tokens, and credentials that were refused", async () => {
    const { gatehouse } = bench;
    const form = { grant_type: "client_credentials", client_id: "administrator", client_secret: "wrong" };
    const counts = async () => {
      const text = await scrape();
      return [
        sampleOf(text, "gatehouse_tokens_issued_total", { grant_type: "client_credentials" }) ?? 0,
        sampleOf(text, "gatehouse_tokens_refused_total", { status: "401" }) ?? 0,
        sampleOf(text, "gatehouse_credentials_refused_total", { kind: "client" }) ?? 0,
        sampleOf(text, "gatehouse_credentials_refused_total", { kind: "token" }) ?? 0,
      ];
    };
    const before = await counts();
    await gatehouse.token(await gatehouse.createClient());
    await gatehouse.call("POST", "/oauth/token", { body: form, token: null });
    await gatehouse.call("GET", "/api/v1/jobs", { token: "eyJhbGciOiJFUzI1NiJ9.e30.made-up" });
    expect(await counts()).toEqual(before.map((count) => count + 1));
  });

  test("tells nothing of tenants and no secrets: no ids, names or addresses stand in labels", async () => {
    const { gatehouse } = bench;
    const client = await gatehouse.createClient();
    const token = await gatehouse.token(client);
    await gatehouse.call("GET", "/api/v1/jobs", { token });
    const text = await scrape();
    for (const told of [client.clientId, client.clientSecret, token, gatehouse.organizationId, "127.0.0.1"]) {
      expect(text).not.toContain(told);
    }
    expect(text).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}/);
    const labels = new Set(samplesOf(text).flatMap((sample) => Object.keys(sample.labels)));
    const known = [
      "method",
      "route",
      "status",
      "type",
      "state",
      "kind",
      "grant_type",
      "pool",
      "outcome",
      "le",
      "version",
    ];
    // Those of the process itself: garbage collection, heap spaces, handles, Node.js' version.
    const ofTheProcess = ["kind", "space", "type", "major", "minor", "patch"];
    expect([...known, ...ofTheProcess]).toEqual(expect.arrayContaining([...labels]));
  });

  test("counts an event stream that has ended, and measures none", async () => {
    const { id } = (await bench.sync(await bench.quickJob())).body;
    const stream = await bench.gatehouse.call("GET", `/api/v1/operations/${id}/events`);
    expect(stream.text).toContain('"done":true');
    const text = await scrape();
    const route = { method: "GET", route: "/api/v1/operations/:id/events" };
    expect(sampleOf(text, "gatehouse_http_requests_total", { ...route, status: "200" })).toBe(1);
    expect(sampleOf(text, "gatehouse_http_request_duration_seconds_count", route)).toBeUndefined();
  });

  test("tells of waiters, of connections and of the process", async () => {
    const job = await bench.slowJob();
    const release = await bench.hold();
    const { id } = (await bench.sync(job)).body;
    await bench.atTable(id);
    const waiting = bench.read(id, { headers: { prefer: "wait=30" } });
    await until("somebody waits", async () => sampleOf(await scrape(), "gatehouse_waiters") === 1);
    const text = await scrape();
    for (const pool of ["statements", "prisma"]) {
      expect(sampleOf(text, "gatehouse_database_connections", { pool, state: "idle" }), pool).toBeDefined();
      expect(sampleOf(text, "gatehouse_database_connection_waiters", { pool }), pool).toBe(0);
    }
    expect(sampleOf(text, "process_resident_memory_bytes")).toBeGreaterThan(1_000_000);
    expect(sampleOf(text, "gatehouse_attempts")).toBe(1);
    const route = { method: "GET", route: "/api/v1/operations/:id" };
    const before = sampleOf(text, "gatehouse_http_request_duration_seconds_count", route) ?? 0;
    await release();
    expect((await waiting).body).toMatchObject({ done: true });
    const after = await scrape();
    expect(sampleOf(after, "gatehouse_waiters")).toBe(0);
    // What a client wants to last says nothing of how fast answers are.
    expect(sampleOf(after, "gatehouse_http_request_duration_seconds_count", route) ?? 0).toBe(before);
  });
});
