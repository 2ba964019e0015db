import { describe, expect, test } from "vitest";
import { ConnectorError } from "../connector.js";
import { fileNameOf } from "./file-name.js";
import { matchesGlob, namesOf, placeOf } from "./paths.js";

describe("a path", () => {
  test.each([
    ["a.csv", ["a.csv"]],
    ["a/b c/ü.csv", ["a", "b c", "ü.csv"]],
    ["a/", ["a"]],
    [".", []],
    ["a/..b/c..", ["a", "..b", "c.."]],
  ])("%j is taken", (path, names) => {
    expect(namesOf(path)).toEqual(names);
  });

  test.each([
    "",
    "/etc/passwd",
    "//a",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "./a",
    "a//b",
    "a/./b",
    "a\0b",
    "a\\..\\b",
    "C:/a",
    "a\nb",
    ".gatehouse/x",
    "a/.gatehouse",
    "x".repeat(256),
    "x/".repeat(3_000),
  ])("%j is refused as a fault of the configuration", (path) => {
    expect(() => namesOf(path)).toThrow(ConnectorError);
    expect(() => namesOf(path)).toThrow(/"path"/);
  });

  test("that starts with the name of a read-only root is in that root, and not writable", () => {
    const roots = { root: "/files", readOnlyRoots: [{ name: "examples", path: "/app/examples" }] };
    expect(placeOf("examples/a.csv", roots)).toMatchObject({
      root: "/app/examples",
      names: ["a.csv"],
      writable: false,
    });
    expect(placeOf("examples2/a.csv", roots)).toMatchObject({ root: "/files", writable: true });
  });
});

test.each([
  ["*.csv", "a.csv", true],
  ["*.csv", "a.csv.gz", false],
  ["*", "", true],
  ["a?c*", "abc", true],
  ["a?c", "ac", false],
  ["*a*b*c", "xxaxxbxxc", true],
  ["*a*b*c", "xxaxxbxx", false],
])("the pattern %j and the name %j: %s", (pattern, name, matches) => {
  expect(matchesGlob(pattern, name)).toBe(matches);
});

test("a pattern of many stars costs no more than its length times the name's", () => {
  const started = performance.now();
  expect(matchesGlob(`${"*a".repeat(100)}b`, "a".repeat(255))).toBe(false);
  expect(performance.now() - started).toBeLessThan(1_000);
});

test.each([
  ["customers", "customers.csv"],
  ["../../etc/passwd", "__.._etc_passwd.csv"],
  [".hidden", "_hidden.csv"],
  ["a\0b\nc", "a_b_c.csv"],
  ["Übersicht 2024", "Übersicht 2024.csv"],
  ["", "_.csv"],
  ["..", "_.csv"],
])("the stream %j becomes the file %s", (stream, file) => {
  expect(fileNameOf(stream, "csv")).toBe(file);
});

test("long stream names become short files that stay apart", () => {
  const a = fileNameOf(`${"ü".repeat(300)}a`, "csv");
  const b = fileNameOf(`${"ü".repeat(300)}b`, "csv");
  expect(Buffer.byteLength(a)).toBeLessThan(255);
  expect(a).not.toBe(b);
});
