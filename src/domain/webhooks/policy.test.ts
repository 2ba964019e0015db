import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { loadConfig } from "../../config.js";
import { backOffMs, DELIVERY_POLICY } from "./policy.js";

const HOUR_MS = 3_600_000;

function totalMs(chance: number): number {
  let total = 0;
  for (let tries = 1; tries < DELIVERY_POLICY.maxTries; tries++) total += backOffMs(tries, chance);
  return total;
}

test("tries spread over a day and no less, wherever chance falls", () => {
  expect(totalMs(0)).toBeGreaterThan(24 * HOUR_MS);
  expect(totalMs(0.5) / HOUR_MS).toBeCloseTo(26.5, 1);
  expect(totalMs(1)).toBeLessThan(29 * HOUR_MS);
});

test("what waits is kept until all events of an operation were tried, one after the other", () => {
  const statuses = 4;
  const days = 8;
  expect(days * 24 * HOUR_MS).toBeGreaterThan(statuses * totalMs(1));
  const load = (kept: number) => loadConfig({ WEBHOOK_RETENTION_DAYS: String(kept) }, tmpdir());
  expect(load(days).webhookRetentionDays).toBe(days);
  expect(() => load(days - 1)).toThrow(/WEBHOOK_RETENTION_DAYS.* must be >= 8/);
});

test("delays grow from seconds to hours, and no further", () => {
  const delays = Array.from({ length: 11 }, (_each, i) => backOffMs(i + 1, 0));
  expect(delays.slice(0, 4)).toEqual([5_000, 15_000, 45_000, 135_000]);
  expect(delays.at(-1)).toBe(6.5 * HOUR_MS);
  expect([...delays].sort((a, b) => a - b)).toEqual(delays);
});

test("delays of what failed together differ", () => {
  const delays = new Set(Array.from({ length: 20 }, () => DELIVERY_POLICY.delayMs(5)));
  expect(delays.size).toBeGreaterThan(1);
  for (const delay of delays) {
    expect(delay).toBeGreaterThanOrEqual(backOffMs(5, 0));
    expect(delay).toBeLessThanOrEqual(backOffMs(5, 1));
  }
});
