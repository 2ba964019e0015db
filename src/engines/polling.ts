import { setTimeout as delay } from "node:timers/promises";

/** Looks every 10 ms, and more seldom later, until `done` says so. Rejects when aborted. */
export async function polling(signal: AbortSignal, done: () => Promise<boolean>): Promise<void> {
  for (let pause = 10; !(await done()); pause = Math.min(100, pause * 1.2)) {
    await delay(pause, undefined, { signal });
  }
}
