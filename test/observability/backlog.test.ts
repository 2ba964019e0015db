import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BACKLOG, showBacklog } from "../../src/operations/backlog.js";
import { createMetrics, type Metrics } from "../../src/platform/metrics.js";
import { Database, type Statement } from "../../src/platform/sql.js";
import { explained, LEASE_MS, type LedgerBench, openLedger, silent } from "../operations/support.js";
import { sampleOf } from "./support.js";

/** The real database, on a wire that is counted and can be cut. */
class WatchedDatabase extends Database {
  asked = 0;
  cut = false;

  override rows<R extends object>(statement: Statement | string, values?: readonly unknown[]): Promise<R[]> {
    this.asked += 1;
    return this.cut ? Promise.reject(new Error("the wire is cut")) : super.rows<R>(statement, values);
  }
}

let bench: LedgerBench;
let db: WatchedDatabase;
let metrics: Metrics;
beforeAll(async () => {
  bench = await openLedger();
  db = new WatchedDatabase(bench.database.url, 2, silent);
});
beforeEach(async () => {
  await bench.database.query("DELETE FROM operations");
  db.asked = 0;
  db.cut = false;
  metrics = createMetrics("0");
  showBacklog(metrics, db, silent);
});
afterAll(async () => {
  await db.close();
  await bench.close();
});

describe("what waits and runs in the installation", () => {
  test("is told by type and state, with what is sent, what is held and how long the oldest waits", async () => {
    const claimed = await bench.accept();
    await bench.ledger.claim(claimed.id, "worker", LEASE_MS);
    const old = await bench.accept({ operationType: "check" });
    await bench.accept();
    await bench.database.query(
      "UPDATE operations SET created_at = now() - interval '90 seconds', dispatched_at = now() WHERE id = $1",
      [old.id],
    );
    const text = await metrics.metrics();
    expect(sampleOf(text, "gatehouse_database_up")).toBe(1);
    expect(sampleOf(text, "gatehouse_operations", { type: "sync", state: "pending" })).toBe(1);
    expect(sampleOf(text, "gatehouse_operations", { type: "sync", state: "running" })).toBe(1);
    expect(sampleOf(text, "gatehouse_operations", { type: "check", state: "pending" })).toBe(1);
    expect(sampleOf(text, "gatehouse_operations", { type: "discover", state: "pending" })).toBe(0);
    expect(sampleOf(text, "gatehouse_queue_depth")).toBe(1);
    expect(sampleOf(text, "gatehouse_leases")).toBe(1);
    const age = sampleOf(text, "gatehouse_operations_oldest_pending_seconds");
    expect(age).toBeGreaterThanOrEqual(90);
    expect(age).toBeLessThan(150);
  });

  test("costs one query, however often and by however many it is asked for within seconds", async () => {
    await Promise.all(Array.from({ length: 20 }, () => metrics.metrics()));
    expect(db.asked).toBe(1);
  });

  test("is left out while the database is away, and everything else is told", async () => {
    db.cut = true;
    const text = await metrics.metrics();
    expect(sampleOf(text, "gatehouse_database_up")).toBe(0);
    expect(text).not.toMatch(/^gatehouse_(operations|queue_depth|leases)/m);
    expect(sampleOf(text, "process_resident_memory_bytes")).toBeGreaterThan(0);
  });

  test("is found by the indexes on unfinished operations, however many finished ones there are", async () => {
    await bench.database.query(
      `INSERT INTO operations (id, organization_id, operation_type, resource_type, resource_id, status, timeout_seconds,
         created_by, started_at, finished_at)
       SELECT gen_random_uuid(), gen_random_uuid(), 'sync', 'run', gen_random_uuid(), 'succeeded', 60, '{}', now(), now()
       FROM generate_series(1, 20000)`,
    );
    await bench.accept();
    await bench.database.query("ANALYZE operations");
    const { plan, pages } = await explained(bench.db, BACKLOG);
    expect(JSON.stringify(plan)).toMatch(/operations_waiting_idx.*operations_attended_idx/);
    expect(pages).toBeLessThan(50);
  });
});
