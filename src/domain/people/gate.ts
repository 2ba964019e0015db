import { AppError } from "../../platform/errors.js";

/** How many pieces of work run at a time, and how many more may wait for their turn. */
export interface GateSize {
  readonly atOnce: number;
  readonly waiting: number;
}

/** Lets a few pieces of work run at a time, in the order of their coming; refuses who would wait too long. */
export class Gate {
  readonly #size: GateSize;
  readonly #queue: (() => void)[] = [];
  #running = 0;

  constructor(size: GateSize) {
    this.#size = size;
  }

  /** Throws `unavailable` at once where too many wait already. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#size.atOnce) this.#running += 1;
    else await this.#wait();
    try {
      return await work();
    } finally {
      // Whoever is next takes over the place: nobody who comes later slips in between.
      const next = this.#queue.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  #wait(): Promise<void> {
    if (this.#queue.length >= this.#size.waiting) {
      throw new AppError("unavailable", "too many passwords are being checked: try again in a moment", {
        details: { retryAfter: 1 },
      });
    }
    return new Promise((resolve) => this.#queue.push(resolve));
  }
}

/** One piece of work at a time per key. */
export class Turns {
  readonly #waiting: number;
  readonly #gates = new Map<string, { readonly gate: Gate; users: number }>();

  /** @param waiting how many may wait for the turn of one key */
  constructor(waiting: number) {
    this.#waiting = waiting;
  }

  /** Throws `unavailable` at once where too many wait for the same key already. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const entry = this.#gates.get(key) ?? {
      gate: new Gate({ atOnce: 1, waiting: this.#waiting }),
      users: 0,
    };
    this.#gates.set(key, entry);
    entry.users += 1;
    try {
      return await entry.gate.run(work);
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#gates.delete(key);
    }
  }
}
