import { connect } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { startApi } from "../../../src/api.js";
import { MasterKey } from "../../../src/platform/crypto.js";
import { createMetrics } from "../../../src/platform/metrics.js";
import { endAllProcesses, freePort, startRole } from "../../support/processes.js";
import { until } from "../../support/until.js";
import { type OperationsBench, openOperations } from "./support.js";

const masterKey = MasterKey.generate();
let bench: OperationsBench;
beforeAll(async () => {
  bench = await openOperations({ env: { GATEHOUSE_MASTER_KEY: masterKey } });
});
afterAll(() => bench.close());

/** A second api in this process, on the bench's database. */
async function start(name: string, drainMs = 0) {
  const { runtime } = bench.gatehouse;
  const config = { ...runtime.config, drainMs };
  // Metrics are a process's own.
  const api = await startApi({ ...runtime, config, metrics: createMetrics(name) });
  const address = api.app.server.address();
  return { api, port: typeof address === "object" ? (address?.port ?? 0) : 0 };
}

test("an api that closes answers a request that was on its way on a connection that was kept", async () => {
  const { api, port } = await start("closing");
  const socket = connect({ port, host: "127.0.0.1" }).setEncoding("utf8");
  onTestFinished(() => void socket.destroy());
  let text = "";
  socket.on("data", (chunk: string) => {
    text += chunk;
  });
  const request = "GET /healthz HTTP/1.1\r\nHost: gatehouse\r\n";
  const answers = (): string[] => text.match(/HTTP\/1\.1 \d+/g) ?? [];
  // A whole one, and one without its last line: the server has it when it answers the first.
  socket.write(`${request}\r\n${request}`);
  await until("the first is answered", () => answers().length === 1);
  const stopped = api.stop();
  await until("it takes no connection any more", () => !api.app.server.listening);
  socket.write("\r\n");
  await until("the second is answered", () => answers().length === 2);
  expect(answers()).toEqual(["HTTP/1.1 200", "HTTP/1.1 200"]);
  expect(text.toLowerCase()).toContain("connection: close");
  await stopped;
});

test("an api that stops says so on /readyz and to who wants to follow an operation, and answers what has begun", async () => {
  const { gatehouse } = bench;
  const job = await bench.quickJob();
  const { id: followed } = (await bench.sync(job)).body;
  await gatehouse.waitDone(followed);
  const { api, port } = await start("draining");
  const origin = `http://127.0.0.1:${port}`;
  expect((await fetch(`${origin}/readyz`)).status).toBe(200);
  // A request that stands still in its midst: somebody holds the job's row.
  const holder = new pg.Client({ connectionString: gatehouse.database.url });
  await holder.connect();
  onTestFinished(() => holder.end());
  await holder.query("BEGIN");
  await holder.query("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE", [job.id]);
  const headers = { authorization: `Bearer ${await gatehouse.token()}` };
  const begun = fetch(`${origin}/api/v1/jobs/${job.id}/sync`, { method: "POST", headers });
  await until("it waits for the row", async () => {
    const waiting = await gatehouse.database.query(
      `SELECT 1 FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FROM jobs%FOR UPDATE%'`,
    );
    return waiting.length === 1;
  });
  const stopped = api.stop();
  const probe = await fetch(`${origin}/readyz`);
  expect(probe.status).toBe(503);
  expect(probe.headers.get("connection")).toBe("close");
  expect(((await probe.json()) as { detail: string }).detail).toContain("draining");
  expect((await fetch(`${origin}/healthz`)).status).toBe(200);
  const stream = await fetch(`${origin}/api/v1/operations/${followed}/events`, { headers });
  expect(stream.status).toBe(503);
  expect(stream.headers.get("retry-after")).toBe("1");
  expect(((await stream.json()) as { detail: string }).detail).toContain("draining");
  await holder.query("COMMIT");
  const answer = await begun;
  expect(answer.status).toBe(202);
  await stopped;
  await expect(fetch(`${origin}/healthz`)).rejects.toThrow();
  await gatehouse.waitDone(((await answer.json()) as { id: string }).id);
});

test("an idle api of its own says 503 on /readyz and answers all else for DRAIN_SECONDS, then ends in order", async () => {
  onTestFinished(endAllProcesses);
  const port = await freePort();
  const { config } = bench.gatehouse.runtime;
  const api = await startRole("api", {
    DATABASE_URL: bench.gatehouse.database.url,
    GATEHOUSE_MASTER_KEY: masterKey,
    GATEHOUSE_HOME: config.home,
    PUBLIC_URL: config.publicUrl,
    PORT: String(port),
    DRAIN_SECONDS: "5",
  });
  const ask = (path: string, headers = {}) => fetch(`http://127.0.0.1:${port}${path}`, { headers });
  const authorized = { authorization: `Bearer ${await bench.gatehouse.token()}` };
  expect((await ask("/readyz")).status).toBe(200);
  const told = performance.now();
  api.signal("SIGTERM");
  const probe = await until("it says that it drains", async () => {
    const answer = await ask("/readyz");
    return answer.status === 503 && answer;
  });
  expect(((await probe.json()) as { detail: string }).detail).toContain("draining");
  // On a connection of its own: the one before was closed.
  const answer = await ask("/api/v1/jobs", authorized);
  expect(answer.status).toBe(200);
  expect(answer.headers.get("connection")).toBe("close");
  expect(await api.exited).toEqual({ code: 0, signal: null });
  expect(performance.now() - told).toBeGreaterThan(4_900);
  await expect(ask("/healthz")).rejects.toThrow();
});

test("an api that goes on answering before it stops lets nobody go meanwhile who waits for an operation", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  await bench.atTable(id);
  const { api, port } = await start("lingering", 4_000);
  const headers = { authorization: `Bearer ${await bench.gatehouse.token()}`, prefer: "wait=1" };
  const stopped = api.stop({ lingers: true });
  const begun = performance.now();
  const answer = await fetch(`http://127.0.0.1:${port}/api/v1/operations/${id}`, { headers });
  expect(answer.headers.get("preference-applied")).toBe("wait=1");
  expect(performance.now() - begun).toBeGreaterThan(990);
  await stopped;
  await release();
  await bench.gatehouse.waitDone(id);
});
