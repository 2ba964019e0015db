import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { queueBackends } from "../support/backends.js";
import { endAllProcesses, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";
import { type FaultBench, openFaultBench, ROUTES } from "./bench.js";
import { holdLedger, type Moment } from "./holds.js";
import { signalInTheMidst } from "./midst.js";

/** Short leases: only what happens after them matters here. */
const HASTY = { GATEHOUSE_LEASE_MS: "1500", GATEHOUSE_HEARTBEAT_MS: "300", GATEHOUSE_SWEEP_MS: "200" };
/** Does not notice by itself, for as long as a test takes: only what it writes to can refuse it. */
const DEAF = { GATEHOUSE_LEASE_MS: "600000", GATEHOUSE_HEARTBEAT_MS: "300000" };
const NOTICED = "another attempt has taken over";

// On a machine that is busy with other things too.
vi.setConfig({ testTimeout: 120_000 });

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

  test("just before the commit, and commits while its successor is at work, is refused by the stores", async () => {
    const sleeper = await bench.startWorker(DEAF);
    const hold = await holdLedger(bench.installation.database, "before the commit");
    const ids = [await bench.sync("postgres to postgres"), await bench.sync("postgres to file")];
    await hold.reached(ids.length);
    // The successor will stand here, with half of the rows.
    const gate = await bench.source.hold();
    await bench.startWorker(HASTY);
    sleeper.signal("SIGSTOP");
    await hold.release();
    const { database } = bench.installation;
    await database.query("UPDATE operations SET lease_expires_at = now() WHERE id = ANY ($1)", [ids]);
    await gate.reached(ids.length);
    const before = await bench.visible();
    sleeper.signal("SIGCONT");
    await hasNoticed(sleeper, ids);
    expect(await bench.visible()).toEqual(before);
    await gate.release();
    await bench.succeeded(ids, 30_000);
    for (const route of ROUTES.slice(0, 2)) await bench.check(route);
  });

  async function hasNoticed(sleeper: TestProcess, ids: readonly string[]): Promise<void> {
    await until("it has noticed, on every route", () => {
      const noticed = sleeper.entries().filter((entry) => entry.msg.includes(NOTICED));
      return ids.every((id) => noticed.some((entry) => entry["operationId"] === id));
    });
  }

  async function changesNothing(sleeper: TestProcess, ids: readonly string[]): Promise<void> {
    for (const route of ROUTES) await bench.check(route);
    const before = await bench.everything();
    sleeper.signal("SIGCONT");
    await hasNoticed(sleeper, ids);
    expect(await bench.everything()).toEqual(before);
    // Nor with its last breath.
    expect((await sleeper.end("SIGTERM")).code).toBe(0);
    expect(await bench.everything()).toEqual(before);
  }
});
