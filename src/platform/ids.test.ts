import { validate, version } from "uuid";
import { expect, test } from "vitest";
import { newId } from "./ids.js";

test("ids are UUIDv7 of now, no two alike, and in the order in which they were made", () => {
  const began = Date.now();
  const ids = Array.from({ length: 10_000 }, newId);
  expect(ids.every((id) => validate(id) && version(id) === 7)).toBe(true);
  expect(new Set(ids).size).toBe(ids.length);
  expect([...ids].sort()).toEqual(ids);
  const times = ids.map((id) => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16));
  expect(Math.min(...times)).toBeGreaterThanOrEqual(began);
  expect(Math.max(...times)).toBeLessThanOrEqual(Date.now());
});
