/** What one query is asked at most; more are asked in several. */
const MOST = 500;

interface Asked<Question, Answer> {
  readonly question: Question;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

export interface BatchOptions {
  /** One query at a time: what is asked while one is under way goes together in the next. */
  readonly oneAtATime?: boolean;
}

/**
 * Asks together what is asked in one turn of the event loop: one query for all where many ask, and no wait for who
 * asks alone. Nothing is kept: every answer was found after its question was put.
 */
export class Batch<Question, Answer> {
  readonly #find: (questions: readonly Question[]) => Promise<readonly Answer[]>;
  readonly #oneAtATime: boolean;
  #asked: Asked<Question, Answer>[] = [];
  #waiting = false;

  /** @param find the answers, in the order of the questions; what it rejects with, all of them are rejected with */
  constructor(
    find: (questions: readonly Question[]) => Promise<readonly Answer[]>,
    { oneAtATime = false }: BatchOptions = {},
  ) {
    this.#find = find;
    this.#oneAtATime = oneAtATime;
  }

  ask(question: Question): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ question, resolve, reject });
      if (this.#waiting) return;
      this.#waiting = true;
      setImmediate(() => void this.#flush());
    });
  }

  async #flush(): Promise<void> {
    while (this.#asked.length > 0) {
      const answered = this.#answer(this.#asked.splice(0, MOST));
      if (this.#oneAtATime) await answered;
    }
    this.#waiting = false;
  }

  async #answer(asked: readonly Asked<Question, Answer>[]): Promise<void> {
    try {
      const answers = await this.#find(asked.map(({ question }) => question));
      for (const [index, { resolve }] of asked.entries()) resolve(answers[index] as Answer);
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  }
}
