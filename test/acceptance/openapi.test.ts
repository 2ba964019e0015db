import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { describeRoutes, differences } from "../../scripts/openapi.js";

interface Operation {
  readonly operationId?: string;
  readonly summary?: string;
  readonly tags?: string[];
  readonly security?: object[];
  readonly parameters?: { $ref?: string; name: string; in: string; schema?: object; content?: object }[];
  readonly requestBody?: { content: Record<string, { schema?: object }> };
  readonly responses: Record<string, { $ref?: string; description?: string; content?: object }>;
}

describe("openapi.yaml as the routes describe it", async () => {
  const document = parse(await describeRoutes()) as {
    tags: { name: string }[];
    paths: Record<string, Record<string, Operation>>;
  };
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      path,
      method,
      operation,
    })),
  );

  test("every operation has an id of its own, a summary and a tag that is described", () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const tags = document.tags.map(({ name }) => name);
    for (const { name, operation } of operations) {
      expect(operation.operationId, name).toMatch(/^[a-z][A-Za-z]+$/);
      expect(operation.summary, name).toBeTruthy();
      expect(tags, name).toEqual(expect.arrayContaining(operation.tags ?? ["none"]));
    }
  });

  test("every parameter of a path is described", () => {
    for (const { name, path, operation } of operations) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter);
      const described = (operation.parameters ?? [])
        .filter((one) => one.in === "path")
        .map((one) => one.name);
      expect(described.sort(), name).toEqual(inPath.sort());
    }
  });

  test("every answer has a meaning, and every one but 204 says what its body looks like", () => {
    for (const { name, operation } of operations) {
      for (const [status, response] of Object.entries(operation.responses)) {
        if (response.$ref !== undefined) continue;
        expect(response.description, `${name} ${status}`).not.toBe("Default Response");
        if (status !== "204") expect(response.content, `${name} ${status}`).toBeDefined();
      }
    }
  });

  test("what needs a token says which scope, and that it may answer 401 and 403", () => {
    for (const { name, operation } of operations) {
      expect(operation.security, name).toBeDefined();
      if (operation.security?.length === 0) continue;
      expect(Object.keys(operation.responses), name).toEqual(
        expect.arrayContaining(["400", "401", "403", "404"]),
      );
    }
  });

  test("Idempotency-Key is a header of everything that changes something for a caller, and of nothing else", () => {
    for (const { name, method, operation } of operations) {
      const headers = (operation.parameters ?? []).filter(
        (one) => one.$ref === "#/components/parameters/IdempotencyKey" || /^idempotency-key$/i.test(one.name),
      );
      const heeds = method !== "get" && operation.security?.length !== 0;
      expect(headers.length, name).toBe(heeds ? 1 : 0);
    }
  });

  test("a difference is told whichever side it is on", () => {
    const file = { paths: { "/a": { get: { summary: "old" } }, "/gone": {} } };
    const routes = { paths: { "/a": { get: { summary: "new" } }, "/added": {} } };
    expect(differences(file, routes)).toEqual([
      '~ paths > /a > get > summary: "old" in the file, "new" in the routes',
      "- paths > /gone: only in the file",
      "+ paths > /added: only in the routes",
    ]);
  });
});
