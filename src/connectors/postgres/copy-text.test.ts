import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Column, ColumnType, RowBatch, Value } from "../connector.js";
import { countRows, decodeRows, encodeRows } from "./copy-text.js";

const column = (name: string, type: ColumnType, native = "text"): Column => ({
  name,
  type,
  nullable: true,
  native: { store: "postgres", type: native },
});

const COLUMNS = [
  column("text", "string"),
  column("number", "integer"),
  column("ratio", "float"),
  column("flag", "boolean"),
  column("doc", "json", "jsonb"),
  column("bytes", "binary"),
];

const orNull = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null });

const row: fc.Arbitrary<Value[]> = fc.tuple(
  orNull(fc.string({ unit: "binary" })),
  orNull(fc.oneof(fc.maxSafeInteger(), fc.constant("9223372036854775807"))),
  orNull(fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constantFrom("NaN", "-Infinity"))),
  orNull(fc.boolean()),
  orNull(fc.jsonValue().filter((value) => value !== null) as fc.Arbitrary<Value>),
  orNull(fc.uint8Array().map((bytes) => Buffer.from(bytes))),
);

async function encode(rows: readonly (readonly Value[])[], columns = COLUMNS): Promise<Buffer> {
  const batches = (async function* (): AsyncGenerator<RowBatch> {
    yield { rows, bytes: 0 };
  })();
  const targets = columns.map((each) => ({ column: each, type: each.native?.type ?? "text" }));
  const chunks: Buffer[] = [];
  for await (const chunk of encodeRows(batches, targets, () => {})) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function decode(bytes: Buffer, chunkSize: number): Promise<Value[][]> {
  const chunks = (async function* () {
    for (let at = 0; at < bytes.length; at += chunkSize) yield bytes.subarray(at, at + chunkSize);
  })();
  const rows: Value[][] = [];
  for await (const batch of decodeRows(chunks, COLUMNS)) rows.push(...batch.rows.map((each) => [...each]));
  return rows;
}

describe("COPY text", { retry: 0 }, () => {
  it("gives back what was put in, however the bytes are cut", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { maxLength: 8 }),
        fc.integer({ min: 1, max: 40 }),
        async (rows, size) => {
          const bytes = await encode(rows);
          expect(countRows(bytes)).toBe(rows.length);
          // JSON knows no -0, in documents as little as PostgreSQL does.
          const expected = rows.map((each) =>
            each.with(4, JSON.parse(JSON.stringify(each[4] ?? null)) as Value),
          );
          expect(await decode(bytes, size)).toEqual(expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each<[string, Value, string, string]>([
    ["null", null, "text", "\\N"],
    ["the text that looks like null", "\\N", "text", "\\\\N"],
    ["the end-of-data mark", "\\.", "text", "\\\\."],
    ["an empty string", "", "text", ""],
    ["a boolean", true, "boolean", "t"],
    ["bytes", Buffer.from("00ff", "hex"), "bytea", "\\\\x00ff"],
    ["an array", [1, null, [2]], "integer[]", '{"1",NULL,{"2"}}'],
    ["an array of texts", ['a"b\\', "", "NULL"], "text[]", '{"a\\\\"b\\\\\\\\","","NULL"}'],
    ["an array as text", "{1,2}", "integer[]", "{1,2}"],
    ["an object where text is wanted", { a: "\n" }, "text", '{"a":"\\\\n"}'],
  ])("writes %s", async (_what, value, type, expected) => {
    expect((await encode([[value]], [column("x", "string", type)])).toString()).toBe(`${expected}\n`);
  });

  it("does not take rows that break off for complete", async () => {
    const bytes = await encode([["a", 1, 1, true, {}, Buffer.alloc(0)]]);
    await expect(decode(bytes.subarray(0, -1), 100)).rejects.toThrow(/middle/);
  });
});
