/** What one query is asked at most; more are asked in several. */
const MOST = 500;

interface Asked<Question, Answer> {
  readonly question: Question;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Asks together what is asked in one turn of the event loop: one query for all where many ask, and no wait for who
 * asks alone. Nothing is kept: every answer was found after its question was put.
 */
export class Batch<Question, Answer> {
  readonly #find: (questions: readonly Question[]) => Promise<readonly Answer[]>;
  #asked: Asked<Question, Answer>[] = [];

  /** @param find the answers, in the order of the questions; what it rejects with, all of them are rejected with */
  constructor(find: (questions: readonly Question[]) => Promise<readonly Answer[]>) {
    this.#find = find;
  }

  ask(question: Question): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#asked.length === 0) setImmediate(() => this.#flush());
      this.#asked.push({ question, resolve, reject });
    });
  }

  #flush(): void {
    const asked = this.#asked;
    this.#asked = [];
    for (let first = 0; first < asked.length; first += MOST)
      void this.#answer(asked.slice(first, first + MOST));
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
