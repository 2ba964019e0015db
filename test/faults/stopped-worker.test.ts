import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { queueBackends } from "../support/backends.js";
import { endAllProcesses, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";
import { type FaultBench, openFaultBench, ROUTES } from "./bench.js";
import { holdLedger, type Moment } from "./holds.js";
import { signalInTheMidst } from "./midst.js";

/** Short leases: only what happens after them matters here. */
const HASTY = { GATEHOUSE_LEASE_MS: "1500", GATEHOUSE_HEARTBEAT_MS: "300", GATEHOUSE_SWEEP_MS: "200" };
const NOTICED = "another attempt has taken over";

describe.each(await queueBackends())("on $name: a worker that was stopped past its lease", (backend) => {
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

  test("in the midst of copying, and goes on later, changes nothing", async () => {
    const sleeper = await bench.startWorker(HASTY);
    const { ids, gate } = await signalInTheMidst(bench, sleeper, "SIGSTOP", () => bench.startWorker(HASTY));
    await gate.release();
    await bench.succeeded(ids, 30_000);
    await changesNothing(sleeper, ids);
  });

  test.each<Moment>(["before the commit", "after the commit"])(
    "just %s, and goes on later, changes nothing",
    async (moment) => {
      const sleeper = await bench.startWorker(HASTY);
      const hold = await holdLedger(bench.installation.database, moment);
      const ids = [];
      for (const route of ROUTES) ids.push(await bench.sync(route));
      await hold.reached(ids.length);
      await bench.startWorker(HASTY);
      sleeper.signal("SIGSTOP");
      await hold.release();
      await bench.succeeded(ids, 30_000);
      await changesNothing(sleeper, ids);
    },
  );

  async function changesNothing(sleeper: TestProcess, ids: readonly string[]): Promise<void> {
    for (const route of ROUTES) await bench.check(route);
    const before = await bench.everything();
    sleeper.signal("SIGCONT");
    await until("it has noticed, on every route", () => {
      const noticed = sleeper.entries().filter((entry) => entry.msg.includes(NOTICED));
      return ids.every((id) => noticed.some((entry) => entry["operationId"] === id));
    });
    expect(await bench.everything()).toEqual(before);
    // Nor with its last breath.
    expect((await sleeper.end("SIGTERM")).code).toBe(0);
    expect(await bench.everything()).toEqual(before);
  }
});
