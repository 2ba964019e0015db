import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { queueBackends } from "../support/backends.js";
import { endAllProcesses } from "../support/processes.js";
import { type FaultBench, openFaultBench, ROUTES } from "./bench.js";
import { holdLedger, type Moment } from "./holds.js";
import { signalInTheMidst } from "./midst.js";

/** How long one that is told to stop goes on with what it has: whether that is short or long, it hands over then. */
const HASTY = { GATEHOUSE_GRACE_MS: "2000" };
/** From the kill to the end of the operations, with the timing that users get. */
const PROMISED_MS = 15_000;

// On a machine that is busy with other things too.
vi.setConfig({ testTimeout: 120_000 });

describe.each(await queueBackends())("on $name: when a worker is killed", (backend) => {
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

  test("in the midst of copying, another finishes within 15 s, with exactly the right rows", async () => {
    const victim = await bench.startWorker();
    const { ids, gate } = await signalInTheMidst(bench, victim, "SIGKILL", () => bench.startWorker());
    await gate.release();
    await finishedInTime(ids);
  });

  test.each<Moment>(["before the commit", "after the commit"])(
    "just %s, another finishes within 15 s, with exactly the right rows",
    async (moment) => {
      const victim = await bench.startWorker();
      const hold = await holdLedger(bench.installation.database, moment);
      const ids = [];
      for (const route of ROUTES) ids.push(await bench.sync(route));
      await hold.reached(ids.length);
      await bench.startWorker();
      victim.signal("SIGKILL");
      await hold.release();
      await finishedInTime(ids);
    },
  );

  test("not at all but told to stop in mid-sync, it hands over and another finishes at once", async () => {
    const stopping = await bench.startWorker(HASTY);
    const gate = await bench.source.hold();
    const ids = [await bench.sync("postgres to postgres"), await bench.sync("postgres to file")];
    await gate.reached(2);
    await bench.startWorker();
    expect(await stopping.end("SIGTERM")).toEqual({ code: 0, signal: null });
    await gate.release();
    await finishedInTime(ids);
  });

  async function finishedInTime(ids: readonly string[]): Promise<void> {
    const took = await bench.succeeded(ids, 2 * PROMISED_MS);
    if (process.env["GATEHOUSE_TEST_VERBOSE"])
      console.log(`recovered on ${backend.name}: ${Math.round(took)} ms`);
    expect(took).toBeLessThan(PROMISED_MS);
    const { database } = bench.installation;
    const first = await database.query("SELECT 1 FROM operations WHERE id = ANY ($1) AND attempt = 1", [ids]);
    expect(first).toEqual([]);
    for (const route of ROUTES) await bench.check(route);
    expect(await database.query("SELECT * FROM operation_locks")).toEqual([]);
    const states = await database.query(
      `SELECT DISTINCT r.state AS run, s.state AS step, j.state AS job
       FROM runs r JOIN steps s ON s.run_id = r.id JOIN jobs j ON j.id = r.job_id`,
    );
    expect(states).toEqual([{ run: "FINISHED", step: "SUCCEEDED", job: "FINISHED" }]);
  }
});
