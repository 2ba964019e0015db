import { setTimeout as delay } from "node:timers/promises";

/** Killed launchers leave processes that take a moment to let their ports go. */
const PATIENCE_MS = 5_000;
const RETRY_MS = 100;

/** Listens; where the port is still taken, tries again for a few seconds. */
export async function listenPatiently(listen: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      await listen();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || Date.now() > deadline) throw error;
      await delay(RETRY_MS);
    }
  }
}
