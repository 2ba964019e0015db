/** What one query is asked at most; more are asked in several. */
const MOST = 500;

interface Asked<Question, Answer> {
  readonly question: Question;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

export interface BatchOptions {
  /** So many queries at a time, at most: what is asked while they are under way goes together in the next. Default: any number. */
  readonly atATime?: number;
}

/**
 * Asks together what is asked in one turn of the event loop: one query for all where many ask, and no wait for who
 * asks alone. Nothing is kept: every answer was found after its question was put.
 */
export class Batch<Question, Answer> {
  readonly #find: (questions: readonly Question[]) => Promise<readonly Answer[]>;
  readonly #atATime: number;
  #asked: Asked<Question, Answer>[] = [];
  /** More may be asked in this turn. */
  #waiting = false;
  #underWay = 0;

  /** @param find the answers, in the order of the questions; what it rejects with, all of them are rejected with */
  constructor(
    find: (questions: readonly Question[]) => Promise<readonly Answer[]>,
    { atATime = Number.POSITIVE_INFINITY }: BatchOptions = {},
  ) {
    this.#find = find;
    this.#atATime = atATime;
  }

  ask(question: Question): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ question, resolve, reject });
      this.#flushSoon();
    });
  }

  #flushSoon(): void {
    if (this.#waiting || this.#asked.length === 0 || this.#underWay >= this.#atATime) return;
    this.#waiting = true;
    setImmediate(() => {
      this.#waiting = false;
      void this.#answer(this.#asked.splice(0, MOST));
      this.#flushSoon();
    });
  }

  async #answer(asked: readonly Asked<Question, Answer>[]): Promise<void> {
    this.#underWay += 1;
    try {
      const answers = await this.#find(asked.map(({ question }) => question));
      for (const [index, { resolve }] of asked.entries()) resolve(answers[index] as Answer);
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
    this.#underWay -= 1;
    this.#flushSoon();
  }
}
