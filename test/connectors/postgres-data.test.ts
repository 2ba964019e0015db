import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ColumnType, ConnectorError, type Stream, type Value } from "../../src/connectors/connector.js";
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

describe("streams that cannot be written are refused before they are read", () => {
  const writing = async (...streams: (typeof PEOPLE)[]) => {
    const writer = await postgres().destination.open(
      configOf(to, { schema: "other" }),
      { jobId: randomUUID(), run: 1, attempt: 1 },
      context(),
    );
    const unread = rowsOf([[[1, "x"]]]);
    let error: ConnectorError | undefined;
    try {
      const [last, ...before] = [...streams].reverse();
      for (const stream of before) await writer.write(stream, rowsOf([[[1, "x"]]]), () => {});
      if (last !== undefined)
        error = await failure(
          writer.write(last, unread, () => {}),
          ConnectorError,
        );
    } finally {
      await writer.close();
      await to.query("DROP SCHEMA other CASCADE");
    }
    if (unread.encoding !== "rows") throw new Error("not rows");
    const first = await unread.batches[Symbol.asyncIterator]().next();
    expect(first.done).toBe(false);
    return error;
  };

  it("two of one table", async () => {
    const error = await writing({ ...PEOPLE, namespace: "a" }, { ...PEOPLE, namespace: "b" });
    expect(error?.message).toContain("same table people");
  });

  it.each([
    ["_gatehouse_state", "Gatehouse's own"],
    ["x".repeat(64), "64 bytes"],
    ["", "empty"],
  ])("one named %j", async (name, why) => {
    expect((await writing({ ...PEOPLE, name }))?.message).toContain(why);
  });
});
