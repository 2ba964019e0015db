import { expect, test } from "vitest";
import { inBatches } from "./batches.js";

/** Of `left`, three at a time. */
const three = (left: number, done?: () => void) => async (): Promise<number> => {
  const batch = Math.min(3, left);
  left -= batch;
  done?.();
  return batch;
};

test.each([0, 1, 3, 4, 9])("all %i are done", async (left) => {
  expect(await inBatches(3, undefined, three(left))).toBe(left);
});

test("the batch that is under way is the last when the signal comes, and there is none after it", async () => {
  const stop = new AbortController();
  expect(
    await inBatches(
      3,
      stop.signal,
      three(9, () => stop.abort()),
    ),
  ).toBe(3);
  expect(await inBatches(3, stop.signal, three(9))).toBe(0);
});
