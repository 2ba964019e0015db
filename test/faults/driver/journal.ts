import type { Findings } from "./findings.js";
import type { Random } from "./random.js";

/** What clients were told: which operations were accepted, and under which key. */
export class Journal {
  readonly #findings: Findings;
  readonly #byKey = new Map<string, string>();
  readonly #keys = new Map<string, string>();
  /** Oldest first, by what clients call it. */
  readonly #byName = new Map<string, string[]>();

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /**
   * A client was told that an operation does what it asked for under this key.
   * @param name of what it asked for: `sync`, for instance
   */
  accepted(name: string, key: string, operationId: string): void {
    const known = this.#byKey.get(key) ?? operationId;
    if (known !== operationId) {
      this.#findings.add(`key ${key}: answered with operation ${known}, then with ${operationId}`);
    }
    const otherKey = this.#keys.get(operationId) ?? key;
    if (otherKey !== key) {
      this.#findings.add(`operation ${operationId}: answered to key ${otherKey}, then to ${key}`);
    }
    if (!this.#keys.has(operationId))
      this.#byName.set(name, [...(this.#byName.get(name) ?? []), operationId]);
    this.#byKey.set(key, operationId);
    this.#keys.set(operationId, key);
  }

  /** Ids of all operations. */
  operations(): readonly string[] {
    return [...this.#keys.keys()];
  }

  /** One of the latest `count` operations of whichever name: where there are many of one, others come as often. Null: there is none yet. */
  recent(random: Random, count: number): string | null {
    const names = [...this.#byName.values()];
    return names.length === 0 ? null : random.pick(random.pick(names).slice(-count));
  }
}
