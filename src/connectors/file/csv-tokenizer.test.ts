import { parse } from "csv-parse/sync";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CsvRecord, CsvSyntaxError, CsvTokenizer } from "./csv-tokenizer.js";
import { MAX_RECORD } from "./limits.js";

const DIALECT = { delimiter: ",", quote: '"', nullValue: "" };

function read(pieces: readonly string[], dialect = DIALECT): CsvRecord[] {
  const tokenizer = new CsvTokenizer(dialect);
  return [...pieces.flatMap((piece) => tokenizer.push(piece)), ...tokenizer.end()];
}

function outcome(pieces: readonly string[]): unknown {
  try {
    return read(pieces);
  } catch (error) {
    if (!(error instanceof CsvSyntaxError)) throw error;
    return { line: error.line, message: error.message };
  }
}

function cut(text: string, places: readonly number[]): string[] {
  const at = [...places.map((place) => place % (text.length + 1))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => text.slice(from, at[i] ?? text.length));
}

const field = fc.string({
  unit: fc.constantFrom("a", ",", '"', "\n", "\r", "\r\n", " ", "é", "😀"),
  maxLength: 8,
});
const places = fc.array(fc.nat(), { maxLength: 6 });

describe("records", { retry: 0 }, () => {
  test("are those that csv-parse reads, wherever the text is cut into pieces", () => {
    const tables = fc
      .integer({ min: 1, max: 4 })
      .chain((width) => fc.array(fc.array(field, { minLength: width, maxLength: width }), { minLength: 1 }));
    fc.assert(
      fc.property(tables, fc.constantFrom("\n", "\r\n"), fc.boolean(), places, (table, end, always, at) => {
        const quoted = (text: string): string =>
          always || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
        const text = table.map((row) => row.map(quoted).join(",") + end).join("");
        const records = read(cut(text, at));
        expect(records.map((record) => record.fields.map((value) => value ?? ""))).toEqual(table);
        expect(parse(text, { record_delimiter: end, encoding: "utf8" })).toEqual(table);
      }),
    );
  });

  test("and errors are the same wherever any text at all is cut into pieces", () => {
    const texts = fc.string({ unit: fc.constantFrom("a", ",", '"', "\n", "\r"), maxLength: 30 });
    fc.assert(
      fc.property(texts, places, (text, at) => {
        expect(outcome(cut(text, at))).toEqual(outcome([text]));
      }),
      { numRuns: 1_000 },
    );
  });

  test("carry the line on which they start, behind fields of several lines with either line end", () => {
    const text = 'a,b\n1,"x\ny\r\nz"\r\n2,"\r\n"\n\n3,q';
    expect(read([text]).map((record) => record.line)).toEqual([1, 2, 5, 7, 8]);
  });

  test("tell the null value from the same text in quotes", () => {
    const fields = read(['a,,"",NULL,"NULL"\n'], { ...DIALECT, nullValue: "NULL" }).map((r) => r.fields);
    expect(fields).toEqual([["a", "", "", null, "NULL"]]);
    expect(read(['a,,""\n']).map((r) => r.fields)).toEqual([["a", null, ""]]);
  });

  test("may be separated and quoted by other characters", () => {
    expect(read(["a|'b|''c'\n"], { ...DIALECT, delimiter: "|", quote: "'" })[0]?.fields).toEqual([
      "a",
      "b|'c",
    ]);
    expect(read(['6",7"\n'], { ...DIALECT, quote: "" })[0]?.fields).toEqual(['6"', '7"']);
  });
});

describe("refused with the line", () => {
  test.each([
    ['a\nb"c\n', 2, "within a field"],
    ['a\n"b"c\n', 2, "behind a closing quote"],
    ['a\n"b\n\nc', 2, "never closed"],
    ["a\nb\rc\n", 2, "carriage return"],
    [`a\n${",".repeat(1_600)}`, 2, "more than 1600 fields"],
  ])("%j", (text, line, message) => {
    expect(outcome([text])).toEqual({ line, message: expect.stringContaining(message) });
  });

  test("a record without an end, before it fills the memory and in linear time", () => {
    const piece = "x".repeat(64 * 1024);
    const pieces = ["a\n", '"', ...new Array<string>(MAX_RECORD / piece.length + 1).fill(piece)];
    expect(outcome(pieces)).toEqual({ line: 2, message: expect.stringContaining("longer than") });
  });
});
