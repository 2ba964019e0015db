import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { queueBackends } from "../support/backends.js";
import { endAllProcesses } from "../support/processes.js";
import { type FaultBench, openFaultBench, ROUTES } from "./bench.js";
import { openTcpProxy, type TcpProxy } from "./driver/tcp-proxy.js";

/** Short leases: only what happens after them matters here. */
const HASTY = { GATEHOUSE_LEASE_MS: "1500", GATEHOUSE_HEARTBEAT_MS: "300", GATEHOUSE_SWEEP_MS: "200" };

describe.each(await queueBackends())("on $name: a worker whose database says nothing any more", (backend) => {
  let bench: FaultBench;
  let proxy: TcpProxy;
  beforeEach(async () => {
    bench = await openFaultBench(backend);
    proxy = await openTcpProxy(() => Number(new URL(bench.installation.database.url).port));
  });
  afterEach(async () => {
    await endAllProcesses();
    await proxy.close();
    await bench.close();
  });

  test("does not keep its operations from the others", { timeout: 120_000 }, async () => {
    const url = new URL(bench.installation.database.url);
    url.port = String(proxy.port);
    const deaf = await bench.startWorker({ ...HASTY, DATABASE_URL: url.href });
    const gate = await bench.source.hold();
    const ids = [await bench.sync("postgres to postgres"), await bench.sync("postgres to file")];
    await gate.reached(ids.length);
    // The queue of Redis still hears of it.
    proxy.stall();
    await gate.release();
    await bench.startWorker(HASTY);
    await bench.succeeded(ids, 40_000);
    for (const route of ROUTES.slice(0, 2)) await bench.check(route);
    const before = await bench.everything();
    proxy.flow();
    await deaf.says("another attempt has taken over", 40_000);
    expect((await deaf.end("SIGTERM")).code).toBe(0);
    expect(await bench.everything()).toEqual(before);
  });
});
