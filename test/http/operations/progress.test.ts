import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../support/until.js";
import { createStore, files, holdTable, type Store } from "../project/support.js";
import { type OperationsBench, type OperationView, openOperations } from "./support.js";

let bench: OperationsBench;
let store: Store;
beforeAll(async () => {
  bench = await openOperations();
  store = await createStore();
  for (const [table, rows] of [
    ["a", 10],
    ["b", 170],
    ["c", 20],
  ] as const)
    await store.query(`CREATE TABLE ${table} AS SELECT n AS id FROM generate_series(1, ${rows}) n`);
  await store.query("ANALYZE");
});
afterAll(async () => {
  await bench.close();
  await store.drop();
});

/** Copies all tables of the store: the id of the operation. */
async function sync(name: string): Promise<string> {
  const source = { name, type: "postgres", version: "1.0.0", config: { ...store.config } };
  const job = { name, source, destination: files(`to ${name}`, `out/${name}`), streams_config: {} };
  return bench.api.sync((await bench.api.make("/jobs", { ...job, frequency: "" })).id);
}

/** What a running operation tells when so many rows are copied. */
const told = (id: string, rows: number): Promise<OperationView["progress"]> =>
  until(`${rows} rows are copied`, async () => {
    const { status, progress } = (await bench.read(id)).body;
    return status === "running" && progress.rows === rows && progress;
  });

test("the time left of a sync shrinks as rows are copied, by the sizes of its tables", async () => {
  const [releaseB, releaseC] = [await holdTable(store, "b"), await holdTable(store, "c")];
  const id = await sync("sizes");
  const first = await told(id, 10);
  expect(first).toMatchObject({ percent: 4, secondsLeft: expect.any(Number) });
  expect(first).not.toHaveProperty("measured");
  await releaseB();
  const second = await told(id, 180);
  expect(second).toMatchObject({ percent: 89, secondsLeft: expect.any(Number) });
  expect(second.secondsLeft).toBeLessThan(Number(first.secondsLeft));
  await releaseC();
  expect(await bench.gatehouse.waitDone(id)).toMatchObject({ progress: { percent: 100, secondsLeft: 0 } });
});

test("the time left of a sync is not known where the size of one of its tables is not", async () => {
  await store.query("CREATE TABLE d AS SELECT 1 AS id");
  const release = await holdTable(store, "b");
  const id = await sync("unknown");
  expect(await told(id, 10)).toMatchObject({ percent: 24, secondsLeft: null });
  await release();
  await bench.gatehouse.waitDone(id);
});
