import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type ColumnType,
  ConnectorError,
  type SourceReader,
  type Stream,
  type Value,
} from "../../src/connectors/connector.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";
import {
  configOf,
  context,
  failure,
  PEOPLE,
  postgres,
  rowsOf,
  stagePeople,
  sync,
  tablesOf,
} from "./postgres-support.js";

let from: TestDatabase;
let to: TestDatabase;

beforeAll(async () => {
  [from, to] = await Promise.all([createDatabase({ empty: true }), createDatabase({ empty: true })]);
});

afterAll(async () => {
  await Promise.all([from?.drop(), to?.drop()]);
});

describe("values that the destination cannot hold", () => {
  const jobId = randomUUID();

  beforeAll(async () => {
    const writer = await stagePeople(to, { jobId, run: 1, attempt: 1 }, [[1, "before"]]);
    await writer.commit();
    await writer.close();
  });

  function withType(type: ColumnType): Stream {
    const [id, name] = PEOPLE.columns;
    if (id === undefined || name === undefined) throw new Error("no columns");
    return { ...PEOPLE, columns: [id, { ...name, type }] };
  }

  const good: readonly Value[] = [1, null];

  it.each<[string, Stream, readonly (readonly Value[])[], object, RegExp]>([
    [
      "of another type",
      withType("integer"),
      [good, [2, "abc"]],
      { row: 2, column: "name" },
      /"people", row 2, column "name": .*"abc"/,
    ],
    ["out of range", withType("integer"), [good, [2, "1e40"]], { row: 2, column: "name" }, /row 2/],
    ["that are no date", withType("date"), [[1, "2024-02-30"]], { row: 1, column: "name" }, /2024-02-30/],
    [
      "null where the source said never",
      PEOPLE,
      [good, [null, "x"]],
      { row: 2, column: "id" },
      /row 2, column "id"/,
    ],
    ["with a zero character", PEOPLE, [[1, "a\0b"]], { row: 1 }, /0x00/],
    ["with a key twice", PEOPLE, [good, good], { stream: "people" }, /\(id\)=\(1\)/],
  ])(
    "%s fail the write, which names where, and leave the old rows",
    async (_what, stream, rows, details, message) => {
      const writer = await postgres().destination.open(
        configOf(to),
        { jobId, run: 2, attempt: 1 },
        context(),
      );
      const error = await failure(
        writer.write(stream, rowsOf([rows]), () => {}),
        ConnectorError,
      );
      await writer.close();
      expect(error.code).toBe("invalid_data");
      expect(error.details).toMatchObject({ stream: "people", ...details });
      expect(error.message).toMatch(message);
      expect(await to.query("SELECT * FROM people")).toEqual([{ id: "1", name: "before" }]);
      expect(await tablesOf(to)).toEqual(["people"]);
    },
  );

  it("in the middle of a copy stop it, although more rows are on their way", async () => {
    const writer = await postgres().destination.open(configOf(to), { jobId, run: 2, attempt: 1 }, context());
    const wide = "x".repeat(1000);
    const batches = Array.from({ length: 200 }, (_, batch) =>
      Array.from({ length: 100 }, (_, row) => [row === 50 ? "bad" : batch * 100 + row, wide]),
    );
    const error = await failure(
      writer.write(PEOPLE, rowsOf(batches), () => {}),
      ConnectorError,
    );
    expect(error.details).toMatchObject({ row: 51, column: "id" });
    await writer.close();
    expect(await tablesOf(to)).toEqual(["people"]);
  });

  it("are no fault of what was staged before, which close removes", async () => {
    const writer = await stagePeople(to, { jobId, run: 2, attempt: 2 }, [[1, "good"]]);
    const bad = writer.write({ ...PEOPLE, name: "others" }, rowsOf([[["x", "y"]]]), () => {});
    await failure(bad, ConnectorError);
    await failure(writer.commit(), Error);
    await writer.close();
    expect(await tablesOf(to)).toEqual(["people"]);
    expect(await to.query("SELECT name FROM people")).toEqual([{ name: "before" }]);
  });
});

describe("an abort", () => {
  const jobId = randomUUID();

  it("in the middle of a write ends it with its reason, leaving the old rows and no staging tables", async () => {
    const to2 = await createDatabase({ empty: true });
    const before = await stagePeople(to2, { jobId, run: 1, attempt: 1 }, [[1, "before"]]);
    await before.commit();
    await before.close();
    const running = context();
    const writer = await stagePeople(to2, { jobId, run: 2, attempt: 1 }, [[1, "after"]], running);
    const reason = new Error("cancelled by the user");
    // The source never gives another batch: the abort alone must end it.
    const stuck = rowsOf([[[1, "x"]]], async () => {
      running.abort(reason);
      await new Promise(() => {});
    });
    const others = { ...PEOPLE, name: "others" };
    expect(
      await failure(
        writer.write(others, stuck, () => {}),
        Error,
      ),
    ).toBe(reason);
    await writer.close();
    expect(await tablesOf(to2)).toEqual(["people"]);
    expect(await to2.query("SELECT name FROM people")).toEqual([{ name: "before" }]);
    await to2.drop();
  });

  it("stops a statement that the server is still working on", async () => {
    await from.query("CREATE VIEW slow AS SELECT pg_sleep(600)::text AS slept");
    const running = context();
    const reader = await postgres().source.open(configOf(from), running);
    const data = await reader.read(await reader.describe("slow", undefined), "pgcopy");
    if (data.encoding !== "pgcopy") throw new Error("not bytes");
    const reading = data.bytes.toArray();
    const active = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
                    AND application_name = 'gatehouse' AND query LIKE 'COPY%' AND state = 'active'`;
    await until("the server sleeps", async () => (await from.query(active)).length > 0);
    const reason = new Error("timed out");
    running.abort(reason);
    expect(await failure(reading, Error)).toBe(reason);
    await reader.close();
    await until("the server has noticed", async () => (await from.query(active)).length === 0);
  });

  it("before anything is opened opens nothing", async () => {
    const running = context();
    const reason = new Error("too late");
    running.abort(reason);
    expect(await failure(postgres().source.open(configOf(from), running), Error)).toBe(reason);
  });
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
    await from.query("ALTER TABLE right_side ADD COLUMN wide text STORAGE EXTERNAL");
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

describe("several streams", () => {
  it("appear together or not at all", async () => {
    await from.query("CREATE TABLE one (id int); CREATE TABLE two (id int); INSERT INTO one VALUES (1)");
    const fence = { jobId: randomUUID(), run: 1, attempt: 1 };
    await sync({ from, to, streams: ["one", "two"], fence, schema: "together" });
    await from.query("INSERT INTO one VALUES (2); INSERT INTO two VALUES (2)");
    await to.query("CREATE TABLE together.refers (id int); ALTER TABLE together.two ADD PRIMARY KEY (id)");
    await to.query("ALTER TABLE together.refers ADD FOREIGN KEY (id) REFERENCES together.two");
    const again = sync({
      from,
      to,
      streams: ["one", "two"],
      fence: { ...fence, run: 2 },
      schema: "together",
    });
    await failure(again, ConnectorError);
    expect(await to.query("SELECT id FROM together.one")).toEqual([{ id: 1 }]);
  });
});
