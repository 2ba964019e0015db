import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { queueBackends } from "../support/backends.js";
import { endAllProcesses, freePort } from "../support/processes.js";
import { until } from "../support/until.js";
import { type FaultBench, openFaultBench } from "./bench.js";

/** What a stop may take, and what an operation's lease would: far more. */
const STOP_LIMIT_MS = 30_000;
const LONG_LEASE = { GATEHOUSE_LEASE_MS: "300000" };
/** What runs is handed over soon: the test does not wait for what users get. */
const HASTY = { ...LONG_LEASE, GATEHOUSE_GRACE_MS: "500" };

// On a machine that is busy with other things too.
vi.setConfig({ testTimeout: 180_000 });

describe.each(await queueBackends())("on $name: a worker that is told to stop", (backend) => {
  let bench: FaultBench;
  beforeAll(async () => {
    bench = await openFaultBench(backend);
  });
  afterEach(async () => {
    await endAllProcesses();
  });
  afterAll(async () => {
    await bench.close();
  });

  test("says that it drains, begins nothing more, and ends what ends in time", async () => {
    const port = await freePort();
    const worker = await bench.startWorker({ METRICS_PORT: String(port) });
    const gate = await bench.source.hold();
    const begun = await bench.sync("postgres to postgres");
    await gate.reached(1);
    expect((await readiness(port)).status).toBe(200);
    worker.signal("SIGTERM");
    await until("it drains", async () => (await readiness(port)).status === 503);
    expect((await readiness(port)).text).toContain("draining");
    const late = await bench.sync("file to postgres");
    await gate.release();
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    expect(await stateOf(begun)).toEqual({ status: "succeeded", attempt: 1 });
    expect(await stateOf(late)).toEqual({ status: "pending", attempt: 0 });
    await bench.startWorker();
    await bench.succeeded([begun, late]);
    await bench.check("postgres to postgres");
    await bench.check("file to postgres");
  });

  test("hands over the rest, and another goes on at once, not when a lease has run out", async () => {
    const worker = await bench.startWorker(HASTY);
    const gate = await bench.source.hold();
    const ids = [await bench.sync("postgres to postgres"), await bench.sync("postgres to file")];
    await gate.reached(2);
    await bench.startWorker(LONG_LEASE);
    const told = performance.now();
    expect(await worker.end("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(performance.now() - told).toBeLessThan(STOP_LIMIT_MS);
    const gone = performance.now();
    await until("the other works at both", async () => {
      const states = await Promise.all(ids.map(stateOf));
      return states.every(({ attempt }) => attempt === 2);
    });
    // The queue lets go at once; what is slow here is the machine.
    expect(performance.now() - gone).toBeLessThan(10_000);
    await gate.release();
    await bench.succeeded(ids);
    await bench.check("postgres to postgres");
    await bench.check("postgres to file");
    expect(await Promise.all(ids.map(stateOf))).toEqual(ids.map(() => ({ status: "succeeded", attempt: 2 })));
  });

  async function stateOf(id: string): Promise<{ status: string; attempt: number }> {
    const [row] = await bench.installation.database.query<{ status: string; attempt: number }>(
      "SELECT status, attempt FROM operations WHERE id = $1",
      [id],
    );
    if (row === undefined) throw new Error(`there is no operation ${id}`);
    return row;
  }
});

async function readiness(port: number): Promise<{ status: number; text: string }> {
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
  return { status: answer.status, text: await answer.text() };
}
