import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ColumnType } from "../connector.js";
import { ColumnGuess, kindOfJson, kindOfText, suggestedType, typeOfKinds } from "./infer.js";
import { exactNumbers } from "./numbers.js";
import { fitJson, fitText } from "./values.js";

function ofTexts(values: readonly string[]): ColumnType {
  return typeOfKinds(values.reduce((kinds, value) => kinds | kindOfText(value), 0));
}

function exact(value: unknown): string {
  return typeof value === "number" ? String(value) : "";
}

function ofJson(values: readonly unknown[]): ColumnType {
  return typeOfKinds(values.reduce<number>((kinds, value) => kinds | kindOfJson(value, exact(value)), 0));
}

describe("the type of CSV values", () => {
  const table: readonly (readonly [readonly string[], ColumnType])[] = [
    [["0", "-1", "9223372036854775807"], "integer"],
    [["1", "9223372036854775808"], "decimal"],
    [["-9223372036854775808"], "integer"],
    [["-9223372036854775809"], "decimal"],
    [["1", "1.50"], "decimal"],
    [["-0"], "decimal"],
    [["01234"], "string"],
    [["1", "007"], "string"],
    [["00.5"], "string"],
    [["+49"], "string"],
    [["1."], "string"],
    [[".5"], "string"],
    [["1,5"], "string"],
    [["0x10"], "string"],
    [[" 1"], "string"],
    [["1.5e10", "1e-7", "1E+20"], "float"],
    [["1", "2.5", "1e-7"], "float"],
    [["12e5"], "string"],
    [["9007199254740993", "1e-7"], "string"],
    [["0.12345678901234567890", "1e-7"], "string"],
    [["1.5", "NaN", "-Infinity"], "float"],
    [["NaN"], "string"],
    [["1e+999"], "string"],
    [["true", "FALSE", "True"], "boolean"],
    [["true", "1"], "string"],
    [["yes"], "string"],
    [["2024-02-29", "0001-01-01"], "date"],
    [["2023-02-29"], "string"],
    [["2024-13-01"], "string"],
    [["2024-1-1"], "string"],
    [["31.12.2024"], "string"],
    [["2024-01-31T10:00:00", "2024-01-31 10:00", "2024-01-31 10:00:00.123456"], "timestamp"],
    [["2024-01-31T10:00:00Z", "2024-01-31 10:00:00+0100", "2024-01-31 10:00:00 UTC"], "timestamptz"],
    [["2024-01-31T10:00:00", "2024-01-31T10:00:00Z"], "string"],
    [["2024-01-31", "2024-01-31T10:00:00"], "string"],
    [["2024-01-31T24:00:00"], "string"],
    [["10:00:00"], "string"],
    [["", "5"], "integer"],
    [[""], "string"],
    [[], "string"],
    [['{"a":1}'], "string"],
    [["abc", "5"], "string"],
  ];
  test.each(table)("%j is %s", (values, type) => {
    expect(ofTexts(values)).toBe(type);
  });
});

describe("the type of JSON values", () => {
  const table: readonly (readonly [readonly unknown[], ColumnType])[] = [
    [[1, 2], "integer"],
    [[1, 1.5], "decimal"],
    [[1e21], "float"],
    [["1", "2"], "string"],
    [["true"], "string"],
    [[1, "1"], "string"],
    [[true, false], "boolean"],
    [[true, 1], "string"],
    [["2024-01-31"], "date"],
    [["2024-01-31T10:00:00Z"], "timestamptz"],
    [[{ a: 1 }], "json"],
    [[[1, 2]], "json"],
    [[1, [1]], "json"],
    [[null, 1], "integer"],
    [[null], "string"],
    [[1.5, "NaN"], "float"],
  ];
  test.each(table)("%j is %s", (values, type) => {
    expect(ofJson(values)).toBe(type);
  });
});

const samples = fc.array(
  fc.oneof(
    fc.stringMatching(/^[-+0-9.eE]{1,22}$/),
    fc.double().map(String),
    fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
    fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
    fc.constantFrom("true", "False", "NaN", "-Infinity", "2024-01-31", "2024-01-31 10:00", "x", ""),
  ),
  { minLength: 1, maxLength: 4 },
);

test("every value fits the type that was inferred from it", { retry: 0 }, () => {
  fc.assert(
    fc.property(samples, (values) => {
      const fit = fitText(ofTexts(values), false);
      for (const value of values) expect(fit(value)).toBeDefined();
    }),
    { numRuns: 5_000 },
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.jsonValue(), samples), { minLength: 1, maxLength: 4 }), (values) => {
      const fit = fitJson(ofJson(values), false);
      for (const value of values) if (value !== null) expect(fit(value, exact(value))).toBeDefined();
    }),
    { numRuns: 5_000 },
  );
});

test("a column is nullable where a value is missing, or where not every record was looked at", () => {
  const full = new ColumnGuess("a");
  full.add(kindOfText("1"));
  expect(full.column(undefined, true)).toEqual({ name: "a", type: "integer", nullable: false });
  expect(full.column(undefined, false).nullable).toBe(true);
  full.addNull();
  expect(full.column("string", true)).toEqual({ name: "a", type: "string", nullable: true });
});

test("an error suggests the type that would have held both", () => {
  expect(suggestedType("integer", kindOfText("1.5"))).toBe("decimal");
  expect(suggestedType("integer", kindOfText("01234"))).toBe("string");
  expect(suggestedType("date", kindOfText("2024-01-31T10:00:00"))).toBe("string");
  expect(suggestedType("integer", kindOfText("5"))).toBe("string");
});

test("numbers of the top level keep the text that they were written with", () => {
  const line =
    '{"a":12345678901234567890,"b":1.10,"n\\"":-0.0,"c":{"d":1.20},"s":"1.30 \\" 1.4","e":1.5,"b":2.50}';
  expect([...(exactNumbers(line) ?? [])]).toEqual([
    ["a", "12345678901234567890"],
    ['n"', "-0.0"],
    ["b", "2.50"],
  ]);
  expect(exactNumbers('{"a":1,"b":1.5}')).toBeNull();
});
