import { Readable } from "node:stream";
import { expect, test } from "vitest";
import type { Progress } from "../../src/operations/operation.js";
import type { HandlerContext } from "../../src/worker/handler.js";
import { counted } from "../../src/worker/handlers/deployment/counted.js";

/** What was told while four bytes passed, two at a time. */
async function told(total: number | null): Promise<Progress[]> {
  const all: Progress[] = [];
  const progress = (one: Progress): void => void all.push(one);
  const context = { signal: new AbortController().signal, progress } as HandlerContext;
  const bytes = Readable.from([Buffer.from("ab"), Buffer.from("cd")]);
  expect((await counted(context, bytes, total).toArray()).join("")).toBe("abcd");
  return all;
}

test("bytes that pass are measured against how many there are", async () => {
  expect(await told(4)).toMatchObject([
    { bytes: 2, percent: 47, measured: { share: 0.5, since: expect.any(String) } },
    { bytes: 4, percent: 90, measured: { share: 1 } },
  ]);
});

test("where nobody knows how many there are, they are counted and nothing is measured", async () => {
  const all = await told(null);
  expect(all.map(({ bytes }) => bytes)).toEqual([2, 4]);
  for (const one of all) expect(one).not.toHaveProperty("measured");
});
