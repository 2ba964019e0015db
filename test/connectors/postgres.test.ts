import { randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConnectorError, type Encoding, type Value } from "../../src/connectors/connector.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { configOf, context, failure, PEOPLE, postgres, sync, tablesOf } from "./postgres-support.js";

let from: TestDatabase;
let to: TestDatabase;

beforeAll(async () => {
  [from, to] = await Promise.all([createDatabase({ empty: true }), createDatabase({ empty: true })]);
});

afterAll(async () => {
  await Promise.all([from?.drop(), to?.drop()]);
});

/** Type and values of its column, in rows after one of nulls. */
const TYPES: readonly (readonly [type: string, ...values: string[]])[] = [
  ["smallint", "-32768", "32767"],
  ["integer", "-2147483648", "0"],
  ["bigint", "9223372036854775807", "-9007199254740993"],
  ["numeric", "123456789012345678901234567890.123456789012345678901234567890", "NaN"],
  ["numeric(12,2)", "-1234567890.12", "0.10"],
  ["real", "3.4e38", "-Infinity"],
  ["double precision", "0.1", "NaN", "-0", "1e-300"],
  ["boolean", "t", "f"],
  ["text", "", "a\\b\ttab\nnew\r\nline\v\f\b", "\\N", "\\.", "NULL", "žluťoučký 🐎 \u2028", "'\"`$1"],
  ["character varying(10)", "padded  ", ""],
  ["character(5)", "ab", "abcde"],
  ['"char"', "x", "y"],
  ["name", "a name", "b"],
  ["date", "2024-02-29", "infinity", "0044-03-15 BC", "12345-06-07"],
  ["time without time zone", "23:59:59.999999", "00:00:00"],
  ["time(0) with time zone", "12:00:00+02", "12:00:00-05:30"],
  ["timestamp without time zone", "2024-02-29 12:34:56.123456", "-infinity", "0044-03-15 01:02:03 BC"],
  ["timestamp(3) with time zone", "2024-02-29 12:34:56.123+02", "infinity", "1900-01-01 00:00:00+00"],
  ["interval", "1 year 2 mons -3 days 04:05:06.789", "-00:00:01"],
  ["interval day to second(2)", "3 days 04:05:06.78"],
  ["uuid", "00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
  ["bytea", "\\x", "\\x00ff5c0a0d09"],
  ["json", '{"b":[1,2,{"c":null}],"a":"x\\\\y\\n\\"z\\""}', "[]", '"text"', "12.5"],
  ["jsonb", '{"a": {"b": "tab\\t"}}', "[null, true]", '"\\\\N"'],
  ["inet", "192.168.0.1/24", "::1"],
  ["cidr", "10.0.0.0/8"],
  ["macaddr", "08:00:2b:01:02:03"],
  ["money", "$1,234.56", "-$0.01"],
  ["bit(3)", "101"],
  ["bit varying(8)", "1", "10101010"],
  ["point", "(1.5,-2)"],
  ["int4range", "[1,10)", "empty"],
  ["datemultirange", "{[2024-01-01,2024-02-01),[2024-03-01,2024-04-01)}"],
  ["tsvector", "'fat':2 'rat':3"],
  ["oid", "4294967295"],
  ["pg_lsn", "16/B374D848"],
  ["integer[]", "{}", "{1,NULL,-3}", "{{1,2},{3,4}}"],
  ["bigint[]", "{9223372036854775807}"],
  ["numeric(10,2)[]", "{1.10,NaN}"],
  ["double precision[]", "{0.1,Infinity}"],
  ["boolean[]", "{t,f,NULL}"],
  ["text[]", '{"","NULL",NULL,"a,b","q\\"uote","back\\\\slash","tab\t","{}"}'],
  ["uuid[]", "{00000000-0000-0000-0000-000000000001}"],
  ["date[]", "{2024-02-29,infinity}"],
  ["timestamp with time zone[]", '{"2024-02-29 12:34:56.123456+00",NULL}'],
  ["jsonb[]", '{"[1, 2]","{\\"a\\": \\"b\\"}",NULL}'],
  ["bytea[]", '{"\\\\x00ff",NULL}'],
  ["inet[]", "{10.0.0.1,::1}"],
];

/** Types that the destination does not have, and what stands for them there. */
const USER_TYPES: readonly (readonly [type: string, there: string, ...values: string[]])[] = [
  ["mood", "text", "so so", "happy"],
  ["mood[]", "text", '{"so so",happy}'],
  ["pair", "text", '(1,"two, three")'],
  ["amount", "numeric(8,2)", "12.50"],
  ["small_amount", "numeric(8,2)", "1.25"],
  ["regclass", "text", "pg_type"],
];

const COLUMNS = [...TYPES.map(([type]) => type), ...USER_TYPES.map(([type]) => type)];
const VALUES = [...TYPES.map(([, ...values]) => values), ...USER_TYPES.map(([, , ...values]) => values)];

async function makeEveryType(): Promise<void> {
  await from.query("CREATE TYPE mood AS ENUM ('so so', 'happy')");
  await from.query("CREATE TYPE pair AS (a int, b text)");
  await from.query("CREATE DOMAIN amount AS numeric(8,2) CHECK (VALUE > 0)");
  await from.query("CREATE DOMAIN small_amount AS amount CHECK (VALUE < 10)");
  // The name alone must not make the destination use a type that is another.
  await to.query("CREATE TYPE mood AS ENUM ('sad')");
  await from.query(
    `CREATE TABLE every_type (id int PRIMARY KEY, ${COLUMNS.map((type, index) => `c${index} ${type}`).join(", ")})`,
  );
  await from.query("INSERT INTO every_type (id) VALUES (0)");
  const rows = Math.max(...VALUES.map((values) => values.length));
  for (let row = 0; row < rows; row += 1) {
    const values = VALUES.map((each) => each[row] ?? null);
    const parameters = COLUMNS.map((type, index) => `$${index + 2}::text::${type}`);
    await from.query(`INSERT INTO every_type VALUES ($1, ${parameters.join(", ")})`, [row + 1, ...values]);
  }
}

async function contents(database: TestDatabase, table: string): Promise<unknown[]> {
  const columns = COLUMNS.map((_, index) => `c${index}::text`).join(", ");
  return database.query<object>(`SELECT id, ${columns} FROM ${table} ORDER BY id`);
}

describe("a table of every type", () => {
  beforeAll(makeEveryType);

  it.each(["pgcopy", "rows"] as const)(
    "arrives exactly as it was, by way of %s",
    async (encoding: Encoding) => {
      const fence = { jobId: randomUUID(), run: 1, attempt: 1 };
      await sync({ from, to, streams: ["every_type"], fence, encoding, schema: encoding });
      expect(await contents(to, `${encoding}.every_type`)).toEqual(await contents(from, "every_type"));
    },
  );

  it.each(["pgcopy", "rows"] as const)(
    "keeps its native types where the destination has them, by way of %s",
    async (encoding) => {
      const columns = await to.query<{ type: string }>(
        `SELECT format_type(atttypid, atttypmod) AS type FROM pg_attribute
       WHERE attrelid = '${encoding}.every_type'::regclass AND attnum > 1 ORDER BY attnum`,
      );
      expect(columns.map(({ type }) => type)).toEqual([
        ...TYPES.map(([type]) => type),
        ...USER_TYPES.map(([, there]) => there),
      ]);
    },
  );

  it("is decoded into the values that the port promises", async () => {
    const reader = await postgres().source.open(configOf(from), context());
    const stream = await reader.describe("every_type", undefined);
    const data = await reader.read(stream, "rows");
    if (data.encoding !== "rows") throw new Error("not rows");
    const rows: (readonly Value[])[] = [];
    for await (const batch of data.batches) rows.push(...batch.rows);
    await reader.close();
    const valuesOf = (type: string) => rows.map((row) => row[COLUMNS.indexOf(type) + 1]);
    expect(valuesOf("bigint").slice(0, 3)).toEqual([null, "9223372036854775807", "-9007199254740993"]);
    expect(valuesOf("integer").slice(1, 3)).toEqual([-2147483648, 0]);
    expect(valuesOf("numeric(12,2)").slice(1, 3)).toEqual(["-1234567890.12", "0.10"]);
    expect(valuesOf("double precision").slice(1, 5)).toEqual([0.1, "NaN", -0, 1e-300]);
    expect(valuesOf("boolean").slice(1, 3)).toEqual([true, false]);
    expect(valuesOf("timestamp without time zone").slice(1, 3)).toEqual([
      "2024-02-29T12:34:56.123456",
      "-infinity",
    ]);
    expect(valuesOf("timestamp(3) with time zone")[1]).toBe("2024-02-29T10:34:56.123Z");
    expect(valuesOf("bytea").slice(1, 3)).toEqual([Buffer.alloc(0), Buffer.from("00ff5c0a0d09", "hex")]);
    expect(valuesOf("json")[1]).toEqual({ a: 'x\\y\n"z"', b: [1, 2, { c: null }] });
    expect(valuesOf("integer[]").slice(1, 4)).toEqual([
      [],
      [1, null, -3],
      [
        [1, 2],
        [3, 4],
      ],
    ]);
    expect(valuesOf("bigint[]")[1]).toEqual(["9223372036854775807"]);
    expect(valuesOf("inet[]")[1]).toBe("{10.0.0.1,::1}");
  });
});

describe("tables of every shape", () => {
  const shapes: Readonly<Record<string, string>> = {
    'Mixed "Case"; --': `CREATE TABLE "Mixed ""Case""; --" ("Id ""x""" int PRIMARY KEY, "select" text, "a.b" text);
      INSERT INTO "Mixed ""Case""; --" VALUES (1, 'x', 'y')`,
    generated: `CREATE TABLE generated (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
      INSERT INTO generated (a) VALUES (1), (2)`,
    two_keys:
      "CREATE TABLE two_keys (v text, b int, a int, PRIMARY KEY (a, b)); INSERT INTO two_keys VALUES ('x', 1, 2)",
    no_key: "CREATE TABLE no_key (a int, b text NOT NULL); INSERT INTO no_key VALUES (1, 'x'), (1, 'x')",
    empty: "CREATE TABLE empty (id int PRIMARY KEY)",
    no_columns:
      "CREATE TABLE no_columns (); INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES",
    parts: `CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day);
      CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
      CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
      INSERT INTO parts VALUES (1, '2024-05-05'), (2, '2025-05-05')`,
    a_view: "CREATE VIEW a_view AS SELECT 1 AS one, 'x'::text AS two",
    dropped:
      "CREATE TABLE dropped (a int, b int, c int); ALTER TABLE dropped DROP COLUMN b; INSERT INTO dropped VALUES (1, 3)",
  };

  beforeAll(async () => {
    for (const statements of Object.values(shapes)) await from.query(statements);
    await from.query("CREATE TABLE _gatehouse_left (a int)");
  });

  it.each(["pgcopy", "rows"] as const)("arrive with their keys and rows, by way of %s", async (encoding) => {
    const schema = `shapes ${encoding}`;
    const fence = { jobId: randomUUID(), run: 1, attempt: 1 };
    await sync({ from, to, streams: Object.keys(shapes), fence, encoding, schema });
    expect((await tablesOf(to, schema)).sort()).toEqual(Object.keys(shapes).sort());
    for (const name of Object.keys(shapes)) {
      const table = `"${name.replaceAll('"', '""')}"`;
      const rows = (database: TestDatabase, where: string) =>
        database.query(`SELECT t::text AS row FROM ${where}.${table} t ORDER BY 1`);
      expect(await rows(to, `"${schema}"`)).toEqual(await rows(from, "public"));
    }
    const keys = await to.query<{ name: string; definition: string }>(
      `SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
       WHERE connamespace = '"${schema}"'::regnamespace AND contype = 'p' AND conname NOT LIKE '\\_%' ORDER BY 1`,
    );
    expect(keys.map(({ name, definition }) => `${name} ${definition}`)).toContain(
      "two_keys_pkey PRIMARY KEY (a, b)",
    );
    expect(keys).toHaveLength(4);
  });

  it("are discovered with their columns, keys and cursors; partitions and our own tables are not", async () => {
    const streams = await postgres().source.discover(configOf(from), context());
    const names = streams.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(Object.keys(shapes)));
    expect(names.filter((name) => /^(parts_|_gatehouse)/.test(name))).toEqual([]);
    expect(streams.find(({ name }) => name === "two_keys")).toEqual({
      name: "two_keys",
      namespace: "public",
      columns: [
        { name: "v", type: "string", nullable: true, native: { store: "postgres", type: "text" } },
        { name: "b", type: "integer", nullable: false, native: { store: "postgres", type: "integer" } },
        { name: "a", type: "integer", nullable: false, native: { store: "postgres", type: "integer" } },
      ],
      primaryKey: ["a", "b"],
      cursorFields: ["b", "a"],
      syncModes: ["full_refresh"],
    });
  });

  it("that are gone or in another schema are not found, and the message names them", async () => {
    const reader = await postgres().source.open(configOf(from), context());
    const error = await failure(reader.describe("nothing", undefined), ConnectorError);
    await reader.close();
    expect(error.code).toBe("not_found");
    expect(error.message).toContain('"nothing"');
  });
});

describe("100,000 rows", () => {
  beforeAll(async () => {
    await from.query(
      `CREATE TABLE many AS SELECT i AS id, md5(i::text) || repeat(E'\\n\\t\\\\', i % 3) AS text, i / 7.0 AS ratio
       FROM generate_series(1, 100000) i`,
    );
    await from.query("ALTER TABLE many ADD PRIMARY KEY (id)");
  });

  it.each(["pgcopy", "rows"] as const)("arrive complete and are counted, by way of %s", async (encoding) => {
    const fence = { jobId: randomUUID(), run: 1, attempt: 1 };
    const results = await sync({ from, to, streams: ["many"], fence, encoding, schema: `many_${encoding}` });
    const sum = "SELECT count(*)::int AS rows, sum(hashtextextended(m::text, 0)) AS hash FROM";
    const [there] = await to.query<{ rows: number }>(`${sum} many_${encoding}.many m`);
    expect([there]).toEqual(await from.query(`${sum} many m`));
    expect(there?.rows).toBe(100_000);
    expect(results[0]?.rows).toBe(100_000);
  });

  it("report their progress as it grows, and the exact totals at the end", async () => {
    const writer = await postgres().destination.open(
      configOf(to, { schema: "progress" }),
      { jobId: randomUUID(), run: 1, attempt: 1 },
      context(),
    );
    const seen: number[] = [];
    let rows = 0;
    async function* untilReported() {
      while (seen.length < 2) {
        rows += 1;
        yield { rows: [[rows, "somebody"]], bytes: 10 };
        await setImmediate();
      }
    }
    const data = { encoding: "rows" as const, batches: untilReported() };
    const result = await writer.write(PEOPLE, data, (soFar) => seen.push(soFar.rows));
    await writer.close();
    expect(result).toEqual({ rows, bytes: rows * 10 });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen).toHaveLength(3);
    expect(seen.at(-1)).toBe(rows);
  });
});
