import { describe, expect, test } from "vitest";
import { AppError } from "../../platform/errors.js";
import { checkGraph, dependencies, type JobGraph, pipeline } from "./graph.js";

const source = (name: string) => ({ name, type: "source" as const, sourceId: "s", streams: null });
const graph = (names: string[], edges: [string, string][]): JobGraph => ({
  vertices: names.map(source),
  edges: edges.map(([from, to]) => ({ from, to })),
});

function faults(bad: JobGraph): string[] {
  try {
    checkGraph(bad);
  } catch (error) {
    if (error instanceof AppError) return error.errors.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  return [];
}

describe("a job graph", () => {
  test("of the project API is one source, one destination and an edge", () => {
    const made = pipeline("a", "b", null);
    expect(faults(made)).toEqual([]);
    expect(dependencies(made).get("destination")).toEqual(["source"]);
  });

  test("may branch and join", () => {
    expect(
      faults(
        graph(
          ["a", "b", "c", "d"],
          [
            ["a", "b"],
            ["a", "c"],
            ["b", "d"],
            ["c", "d"],
          ],
        ),
      ),
    ).toEqual([]);
  });

  test.each([
    ["a name used twice", graph(["a", "a"], []), '/jobGraph/vertices/1/name: "a" is used twice'],
    ["an edge into nothing", graph(["a"], [["a", "x"]]), '/jobGraph/edges/0/to: no vertex is named "x"'],
    [
      "a cycle",
      graph(
        ["a", "b", "c"],
        [
          ["a", "b"],
          ["b", "c"],
          ["c", "b"],
        ],
      ),
      '/jobGraph/edges: "b" is part of a cycle',
    ],
    ["a loop of one", graph(["a"], [["a", "a"]]), '/jobGraph/edges: "a" is part of a cycle'],
  ])("with %s is refused, naming it", (_what, bad, fault) => {
    expect(faults(bad)).toEqual([fault]);
  });
});
