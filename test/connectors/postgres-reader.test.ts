import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ConnectorError, type SourceReader, type Value } from "../../src/connectors/connector.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";
import { configOf, context, failure, postgres, tablesOf } from "./postgres-support.js";

let from: TestDatabase;

beforeAll(async () => {
  from = await createDatabase({ empty: true });
});

afterAll(async () => {
  await from?.drop();
});

describe("a reader", () => {
  beforeEach(async () => {
    await from.query(
      "CREATE TABLE left_side (id int PRIMARY KEY); CREATE TABLE right_side (id int PRIMARY KEY)",
    );
  });

  afterEach(async () => {
    await from.query("DROP TABLE IF EXISTS left_side, right_side");
  });

  it("sees all tables as of one moment, while a writer goes on", async () => {
    let stop = false;
    let id = 0;
    const writing = (async () => {
      while (!stop) {
        id += 1;
        await from.query(`INSERT INTO left_side VALUES (${id}); INSERT INTO right_side VALUES (${id})`);
      }
    })();
    await until("some rows", () => id > 20);
    const reader = await postgres().source.open(configOf(from), context());
    const left = await idsOf(reader, "left_side");
    const seen = id;
    await until("more rows", () => id > seen + 20);
    const right = await idsOf(reader, "right_side");
    stop = true;
    await Promise.all([writing, reader.close()]);
    expect(left.length).toBeGreaterThan(10);
    expect(right).toEqual(left);
  });

  it.each([
    ["truncated", "TRUNCATE right_side"],
    ["made again", "DROP TABLE right_side; CREATE TABLE right_side (id int PRIMARY KEY)"],
  ])("refuses a table that was %s meanwhile, which would look empty", async (_what, change) => {
    await from.query("INSERT INTO right_side SELECT generate_series(1, 10)");
    const reader = await postgres().source.open(configOf(from), context());
    const stream = await reader.describe("right_side", undefined);
    await from.query(change);
    const error = await failure(reader.read(stream, "pgcopy"), ConnectorError);
    await reader.close();
    expect(error.message).toContain("right_side was replaced or truncated");
  });

  it("is not put off by new indexes and analyzed tables", async () => {
    await from.query("INSERT INTO right_side VALUES (1)");
    const reader = await postgres().source.open(configOf(from), context());
    await reader.describe("right_side", undefined);
    await from.query("CREATE INDEX ON right_side (id)");
    await from.query("ANALYZE right_side");
    expect(await idsOf(reader, "right_side")).toEqual([1]);
    await reader.close();
  });

  it("that is left in the middle of a table closes all the same", async () => {
    await from.query("INSERT INTO right_side SELECT generate_series(1, 200000)");
    const reader = await postgres().source.open(configOf(from), context());
    const data = await reader.read(await reader.describe("right_side", undefined), "rows");
    if (data.encoding !== "rows") throw new Error("not rows");
    for await (const batch of data.batches) {
      expect(batch.rows.length).toBeGreaterThan(0);
      break;
    }
    await reader.close();
    const unread = await postgres().source.open(configOf(from), context());
    await unread.read(await unread.describe("right_side", undefined), "pgcopy");
    await unread.close();
  });

  it("whose server goes away fails, and so does the sync, without a trace at the destination", async () => {
    // More than the buffers between the two ends hold.
    await from.query("ALTER TABLE right_side ADD COLUMN wide text");
    await from.query("INSERT INTO right_side SELECT i, repeat('x', 20000) FROM generate_series(1, 2000) i");
    const to2 = await createDatabase({ empty: true });
    const reader = await postgres().source.open(configOf(from), context());
    const stream = await reader.describe("right_side", undefined);
    const data = await reader.read(stream, "rows");
    if (data.encoding !== "rows") throw new Error("not rows");
    const { batches } = data;
    async function* interrupted() {
      for await (const batch of batches) {
        yield batch;
        await from.query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gatehouse' AND datname = current_database()",
        );
      }
    }
    const writer = await postgres().destination.open(
      configOf(to2),
      { jobId: randomUUID(), run: 1, attempt: 1 },
      context(),
    );
    const error = await failure(
      writer.write(stream, { encoding: "rows", batches: interrupted() }, () => {}),
      ConnectorError,
    );
    expect(error.code).toBe("unreachable");
    await Promise.all([writer.close(), reader.close()]);
    expect(await tablesOf(to2)).toEqual([]);
    await to2.drop();
  });
});

async function idsOf(reader: SourceReader, name: string): Promise<Value[]> {
  const data = await reader.read(await reader.describe(name, undefined), "rows");
  if (data.encoding !== "rows") throw new Error("not rows");
  const ids: Value[] = [];
  for await (const { rows } of data.batches) ids.push(...rows.map(([id]) => id ?? null));
  return ids.sort((a, b) => Number(a) - Number(b));
}
