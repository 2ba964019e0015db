import { Batch } from "../platform/batch.js";
import { isDatabaseAway, isLockTimeout } from "../platform/sql.js";

/** What a statement does with a row that somebody else holds: leaves it out, or waits for it. */
export type Locking = "FOR UPDATE SKIP LOCKED" | "FOR UPDATE";

/** Writes what is wished, each as if alone; undefined where a wish cannot be, or its row is held and was left out. */
export type Write<Wish, Answer> = (
  wishes: readonly Wish[],
  locking: Locking,
) => Promise<readonly (Answer | undefined)[]>;

/**
 * Group commit: wishes that come while one statement is under way go together in the next one, one round trip and one
 * commit for all. Who comes alone waits for nothing. No wish is another's trouble: a row that somebody else holds is
 * left out, and what a statement for several refuses is written alone, outside of the turn.
 */
export class Together<Wish, Answer> {
  readonly #write: Write<Wish, Answer>;
  readonly #batch: Batch<Wish, Answer | undefined>;

  /** @param atATime so many statements are under way before wishes wait */
  constructor(write: Write<Wish, Answer>, atATime = 1) {
    this.#write = write;
    this.#batch = new Batch((wishes) => this.#writeAll(wishes), { atATime });
  }

  /** Undefined where the wish cannot be. What was answered is on disk. */
  async write(wish: Wish): Promise<Answer | undefined> {
    return (await this.#batch.ask(wish)) ?? (await this.#write([wish], "FOR UPDATE"))[0];
  }

  /** All of them, or none. */
  async #writeAll(wishes: readonly Wish[]): Promise<readonly (Answer | undefined)[]> {
    try {
      return await this.#write(wishes, "FOR UPDATE SKIP LOCKED");
    } catch (error) {
      const isFinal = wishes.length === 1 && !isLockTimeout(error);
      if (isFinal || isDatabaseAway(error)) throw error;
      return wishes.map(() => undefined);
    }
  }
}

/**
 * The operation with an id of a part of the statement, found by the index. A plan counts with a hundred wishes: where the
 * table is small, as it was when the plan was made, joining them alone would read all of it.
 */
export const operationOf = (id: string, part: string): string =>
  `id = ${id} AND id = ANY (ARRAY(SELECT ${id} FROM ${part}))`;

/** Answers in the order of the wishes, by the `nr` that `asked` gave them; undefined where there is none. */
export function inOrder<Row extends { readonly nr: number }>(
  wishes: readonly unknown[],
  rows: readonly Row[],
): (Row | undefined)[] {
  const answers: (Row | undefined)[] = wishes.map(() => undefined);
  for (const row of rows) answers[row.nr] = row;
  return answers;
}
