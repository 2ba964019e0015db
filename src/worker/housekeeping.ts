import type { Logger } from "../platform/logger.js";

/** Something old that goes, in batches; says how much went. Safe in several processes at once. */
export interface Chore {
  readonly name: string;
  /** @param signal tells it to stop: it ends after the batch that is under way, and the rest is for the next time */
  readonly run: (signal: AbortSignal) => Promise<number>;
}

/** Does its chores now and then, one after the other, until it is stopped; a chore that fails waits for the next time. */
export class Housekeeping {
  readonly #chores: readonly Chore[];
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #working: Promise<void> | null = null;

  constructor(chores: readonly Chore[], logger: Logger) {
    this.#chores = chores;
    this.#logger = logger;
  }

  start(everyMs: number): void {
    this.#timer ??= setInterval(() => void this.work(), everyMs);
  }

  /** Never rejects. */
  work(): Promise<void> {
    this.#working ??= this.#all().finally(() => {
      this.#working = null;
    });
    return this.#working;
  }

  async #all(): Promise<void> {
    const { signal } = this.#stopping;
    for (const { name, run } of this.#chores) {
      if (signal.aborted) return;
      try {
        const removed = await run(signal);
        if (removed > 0) this.#logger.info({ chore: name, removed }, "cleaned up");
      } catch (error) {
        this.#logger.warn({ err: error, chore: name }, "a chore failed; it is tried again later");
      }
    }
  }

  /** For good: waits for the batch that is under way, not for a whole chore. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    await this.#working;
  }
}
