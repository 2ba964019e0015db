import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { type FaultBench, openFaultBench } from "../faults/bench.js";
import { queueBackends } from "../support/backends.js";
import { endAllProcesses, freePort, spawnRole } from "../support/processes.js";
import { until } from "../support/until.js";
import { sampleOf } from "./support.js";

// Real processes, on a machine that is busy with other things too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

describe.each(await queueBackends())("on $name: a worker with METRICS_PORT", (backend) => {
  let bench: FaultBench;
  let port: number;
  beforeAll(async () => {
    bench = await openFaultBench(backend);
    port = await freePort();
  });
  afterEach(async () => {
    await endAllProcesses();
  });
  afterAll(() => bench.close());

  const ask = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`);

  test("tells its metrics and that it works, and while it stops that it is draining", async () => {
    const worker = await bench.startWorker({
      METRICS_PORT: String(port),
      WORKER_CONCURRENCY: "3",
      GATEHOUSE_REGIONS: "local",
    });
    await until("it listens", () => ask("/healthz").catch(() => null));
    expect((await ask("/healthz")).status).toBe(200);
    expect((await ask("/readyz")).status).toBe(200);
    expect((await ask("/")).status).toBe(404);
    expect((await fetch(`http://127.0.0.1:${port}/metrics`, { method: "POST" })).status).toBe(405);
    const gate = await bench.source.hold();
    const id = await bench.sync("postgres to file");
    await gate.reached(1);
    const metrics = await ask("/metrics");
    expect(metrics.headers.get("content-type")).toContain("text/plain");
    const text = await metrics.text();
    expect(sampleOf(text, "gatehouse_attempts")).toBe(1);
    // Three of no region, and three of the one that it serves.
    expect(sampleOf(text, "gatehouse_attempts_limit")).toBe(6);
    expect(sampleOf(text, "gatehouse_operation_dispatch_lag_seconds_count", { type: "sync" })).toBe(1);
    worker.signal("SIGTERM");
    const probe = await until("it says so", async () => {
      const answer = await ask("/readyz");
      return answer.status === 503 ? answer : null;
    });
    expect(await probe.json()).toMatchObject({
      status: "unavailable",
      detail: expect.stringContaining("draining"),
    });
    expect((await ask("/healthz")).status).toBe(200);
    await gate.release();
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    await expect(ask("/healthz")).rejects.toThrow();
    await bench.succeeded([id]);
  });

  test("ends and says what to do where the port is taken", async () => {
    const first = await bench.startWorker({ METRICS_PORT: String(port) });
    await until("it listens", () => ask("/healthz").catch(() => null));
    const second = spawnRole("worker", {
      DATABASE_URL: bench.installation.database.url,
      GATEHOUSE_MASTER_KEY: bench.installation.runtime.config.masterKey ?? "",
      METRICS_PORT: String(port),
      ...backend.env,
    });
    expect(await second.exited).toEqual({ code: 78, signal: null });
    expect(second.output()).toContain("set METRICS_PORT to another port");
    expect(first.isRunning()).toBe(true);
  });
});
