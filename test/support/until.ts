import { setTimeout as delay } from "node:timers/promises";

/**
 * Waits for a condition, looking every 20 ms: the value when `probe` gives something other than false, null
 * or undefined; an error that names the condition after `timeoutMs`.
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | false | null | undefined> | T | false | null | undefined,
  timeoutMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== false && value !== null && value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await delay(20);
  }
}
