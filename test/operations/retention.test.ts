import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pruneRuns } from "../../src/domain/jobs/retention.js";
import { pruneOperations } from "../../src/operations/retention.js";
import { Housekeeping } from "../../src/worker/housekeeping.js";
import { type OperationsBench, openOperations } from "../http/operations/support.js";
import { until } from "../support/until.js";
import { silent } from "./support.js";

let bench: OperationsBench;
beforeAll(async () => {
  bench = await openOperations();
});
afterAll(() => bench.close());

/** Ids of 40 days ago: version 7, so that they tell their time. */
const ago = (days: number): string => {
  const hex = (Date.now() - days * 86_400_000).toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${crypto.randomUUID().slice(-12)}`;
};

const idsOf = async (table: "operations" | "runs"): Promise<string[]> =>
  (await bench.gatehouse.database.query<{ id: string }>(`SELECT id FROM ${table} ORDER BY id`)).map(
    ({ id }) => id,
  );

/** Operations that ended 31 days ago. */
const addOld = (count: number): Promise<unknown> =>
  bench.gatehouse.database.query(
    `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, status, timeout_seconds,
       created_by, finished_at)
     SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, gen_random_uuid(), 'sync', 'run',
       gen_random_uuid(), 'succeeded', 1, '{}', now() - interval '31 days' FROM generate_series(1, $1::int) n`,
    [count],
  );

test("a chore that has much left ends with the batch that is under way when it is told to stop; the next goes on", async () => {
  const { database, runtime } = bench.gatehouse;
  await addOld(2_500);
  const begun: string[] = [];
  const housekeeping = () =>
    new Housekeeping(
      ["first", "second"].map((name) => ({
        name,
        run: (signal) => {
          begun.push(name);
          return pruneOperations(runtime.db, 30, signal);
        },
      })),
      silent,
    );
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  await holder.query("BEGIN; LOCK TABLE operations IN SHARE MODE");
  const stopping = housekeeping();
  const worked = stopping.work();
  const waiting = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
    AND query LIKE 'DELETE FROM operations%'`;
  await until("a batch is under way", async () => (await database.query(waiting)).length === 1);
  const stopped = stopping.stop();
  await holder.query("COMMIT");
  await holder.end();
  await stopped;
  await worked;
  expect(begun).toEqual(["first"]);
  expect(await idsOf("operations")).toHaveLength(1_500);
  await housekeeping().work();
  expect(await idsOf("operations")).toEqual([]);
});

test("operations that ended long ago go, in batches; what goes on, is young or ended lately stays", async () => {
  const { database, runtime } = bench.gatehouse;
  const accept = async (id: string, status: string, endedDaysAgo: number | null): Promise<string> => {
    await database.query(
      `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, status, timeout_seconds,
         created_by, finished_at, lease_expires_at)
       VALUES ($1, $1, 'sync', 'run', $1, $2::operation_status, 1, '{}', now() - $3::int * interval '1 day',
         now() + interval '1 hour')`,
      [id, status, endedDaysAgo],
    );
    return id;
  };
  const stay = [
    await accept(ago(40), "running", null),
    await accept(ago(40), "succeeded", 2),
    await accept(ago(20), "failed", 20),
  ];
  for (const status of ["succeeded", "failed", "cancelled"]) await accept(ago(40), status, 39);
  await addOld(1_500);
  expect(await pruneOperations(runtime.db, 30)).toBe(1_503);
  expect(await idsOf("operations")).toEqual([...stay].sort());
  expect(await pruneOperations(runtime.db, 30)).toBe(0);
});

test("runs, steps and logs outlive their operation, and go together when their own time is over", async () => {
  const { database, runtime, waitDone } = bench.gatehouse;
  const job = await bench.quickJob();
  const operation = await waitDone((await bench.sync(job)).body.id);
  const young = await waitDone((await bench.sync(job)).body.id);
  await database.query("DELETE FROM operations WHERE id = $1", [operation.id]);
  const runId = operation.resource.id;
  expect((await bench.gatehouse.call("GET", `/api/v1/job-runs/${runId}`)).status).toBe(200);
  const old = ago(100);
  await database.query(
    `WITH moved AS (UPDATE runs SET id = $2, ended_at = now() - interval '99 days' WHERE id = $1)
     UPDATE step_logs SET run_id = $2 WHERE run_id = $1`,
    [runId, old],
  );
  expect(await pruneRuns(runtime.db, 90, AbortSignal.abort())).toBe(0);
  expect(await pruneRuns(runtime.db, 90)).toBe(1);
  expect(await idsOf("runs")).toEqual([young.resource.id]);
  const orphans = "SELECT 1 FROM step_logs WHERE run_id = $1 UNION ALL SELECT 1 FROM steps WHERE run_id = $1";
  expect(await database.query(orphans, [old])).toEqual([]);
});
