import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { startApi } from "../../../src/api.js";
import { createMetrics } from "../../../src/platform/metrics.js";
import { until } from "../../support/until.js";
import { type OperationsBench, openOperations } from "./support.js";

let bench: OperationsBench;
beforeAll(async () => {
  bench = await openOperations();
});
afterAll(() => bench.close());

test("an api that stops says so on /readyz, and answers what has begun", async () => {
  const { gatehouse } = bench;
  const job = await bench.quickJob();
  // A second api in this process: metrics are a process's own.
  const api = await startApi({ ...gatehouse.runtime, metrics: createMetrics("second") });
  const address = api.app.server.address();
  const origin = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
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
  await holder.query("COMMIT");
  const answer = await begun;
  expect(answer.status).toBe(202);
  await stopped;
  await expect(fetch(`${origin}/healthz`)).rejects.toThrow();
  await gatehouse.waitDone(((await answer.json()) as { id: string }).id);
});
