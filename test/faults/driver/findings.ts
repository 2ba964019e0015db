const MAX_SHOWN = 40;

/** What is wrong, in words that name ids. A round without any has passed. */
export class Findings {
  readonly #found: string[] = [];
  #more = 0;

  add(what: string): void {
    if (this.#found.length < MAX_SHOWN) this.#found.push(what);
    else this.#more += 1;
  }

  all(): readonly string[] {
    return this.#more === 0 ? this.#found : [...this.#found, `and ${this.#more} more`];
  }
}

/** How often something happened, by name. */
export class Counts {
  readonly #counts = new Map<string, number>();

  add(name: string, by = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  /** By name, in alphabetical order. */
  entries(): [name: string, count: number][] {
    return [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  toString(): string {
    return this.entries()
      .map(([name, count]) => `${name} ${count}`)
      .join(", ");
  }
}
