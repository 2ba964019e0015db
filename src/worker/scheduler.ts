import type { Schedules } from "../domain/schedules/engine.js";
import type { Logger } from "../platform/logger.js";

/** Looks for due schedules from time to time. */
export class Scheduler {
  readonly #schedules: Schedules;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<void> | null = null;

  constructor(schedules: Schedules, logger: Logger) {
    this.#schedules = schedules;
    this.#logger = logger;
  }

  start(everyMs: number): void {
    this.#timer ??= setInterval(() => void this.#look(), everyMs);
  }

  /** For good: waits for the schedule that is being started, not for all that are due. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    await this.#looking;
  }

  /** One look at a time; never rejects: what is due now is due at the next look too. */
  #look(): Promise<void> {
    this.#looking ??= this.#schedules
      .runDue(this.#stopping.signal)
      .then(() => {})
      .catch((error: unknown) => this.#logger.warn({ err: error }, "schedules could not be looked at"))
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }
}
