import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { Batch } from "./batch.js";

test("what is asked in one turn is asked together, what comes later anew, and each gets its own answer", async () => {
  const asked: (readonly number[])[] = [];
  const doubles = new Batch(async (numbers: readonly number[]) => {
    asked.push(numbers);
    return numbers.map((number) => number * 2);
  });
  const together = Promise.all([doubles.ask(1), doubles.ask(2), doubles.ask(2)]);
  await nextTurn();
  expect(await doubles.ask(1)).toBe(2);
  expect(await together).toEqual([2, 4, 4]);
  expect(asked).toEqual([[1, 2, 2], [1]]);
});

test("what fails fails for all that were asked together, and for nobody after them", async () => {
  let fails = true;
  const batch = new Batch(async (words: readonly string[]) => {
    if (fails) throw new Error("away");
    return words;
  });
  const first = batch.ask("a");
  const second = batch.ask("b");
  await expect(first).rejects.toThrow("away");
  await expect(second).rejects.toThrow("away");
  fails = false;
  expect(await batch.ask("c")).toBe("c");
});

test("very many are asked in several parts", async () => {
  const sizes: number[] = [];
  const batch = new Batch(async (numbers: readonly number[]) => {
    sizes.push(numbers.length);
    return numbers;
  });
  const numbers = Array.from({ length: 1_100 }, (_, index) => index);
  expect(await Promise.all(numbers.map((number) => batch.ask(number)))).toEqual(numbers);
  expect(sizes).toEqual([500, 500, 100]);
});

test("one query at a time: what is asked while one is under way goes together in the next", async () => {
  const { batch, asked, open } = held(1, 2);
  const first = batch.ask(1);
  await nextTurn();
  const next = Promise.allSettled([batch.ask(2), batch.ask(3)]);
  await nextTurn();
  expect(asked).toEqual([[1]]);
  open.shift()?.();
  expect(await first).toBe(1);
  await nextTurn();
  const last = batch.ask(4);
  open.shift()?.();
  expect((await next).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await nextTurn();
  open.shift()?.();
  expect(await last).toBe(4);
  expect(asked).toEqual([[1], [2, 3], [4]]);
});

test("two queries at a time: a third waits for the end of either", async () => {
  const { batch, asked, open } = held(2);
  const first = batch.ask(1);
  await nextTurn();
  const second = batch.ask(2);
  await nextTurn();
  const others = [batch.ask(3), batch.ask(4)];
  await nextTurn();
  expect(asked).toEqual([[1], [2]]);
  open[1]?.();
  expect(await second).toBe(2);
  await nextTurn();
  expect(asked).toEqual([[1], [2], [3, 4]]);
  for (const each of open) each();
  expect(await Promise.all([first, ...others])).toEqual([1, 3, 4]);
});

/**
 * A batch whose queries are held until they are opened, one by one.
 * @param away a query with this number among its questions fails
 */
function held(atATime: number, away?: number) {
  const asked: (readonly number[])[] = [];
  const open: (() => void)[] = [];
  const find = async (numbers: readonly number[]): Promise<readonly number[]> => {
    asked.push(numbers);
    await new Promise<void>((resolve) => open.push(resolve));
    if (away !== undefined && numbers.includes(away)) throw new Error("away");
    return numbers;
  };
  return { batch: new Batch(find, { atATime }), asked, open };
}
