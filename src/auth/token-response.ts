/** What a request of a client is answered. */
export interface TokenAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Of the provider's headers those that say something of its answer; names in lower case. */
const OF_ANSWERS: ReadonlySet<string> = new Set([
  ...["content-type", "content-length", "www-authenticate", "retry-after"],
]);

/** By a header like this the provider sees that somebody else decides who may read the answer from a browser. */
const CORS_IS_DECIDED = { "access-control-": "" };

/**
 * The response that the provider sees: as much of one as it and Koa look at. What it says is handed on when it ends;
 * caching and CORS are decided for all routes alike, so its own headers for them stay here.
 */
export class TokenResponse {
  statusCode = 404;
  statusMessage = "";
  writableEnded = false;
  readonly headersSent = false;
  /** The connection is not its business: null is none yet. */
  readonly socket = null;
  /** Called when all is said. */
  ended: (() => void) | null = null;
  readonly #headers: Record<string, string> = {};
  readonly #answered: (answer: TokenAnswer) => void;

  constructor(answered: (answer: TokenAnswer) => void) {
    this.#answered = answered;
  }

  setHeader(name: string, value: string | number): this {
    const lower = name.toLowerCase();
    if (OF_ANSWERS.has(lower)) this.#headers[lower] = String(value);
    return this;
  }

  getHeader(name: string): string | undefined {
    return this.#headers[name.toLowerCase()];
  }

  hasHeader(name: string): boolean {
    return this.getHeader(name) !== undefined;
  }

  removeHeader(name: string): void {
    delete this.#headers[name.toLowerCase()];
  }

  getHeaderNames(): string[] {
    return Object.keys(this.#headers);
  }

  getHeaders(): Readonly<Record<string, string>> {
    return CORS_IS_DECIDED;
  }

  /** Nothing happens to it: the real response tells what happens to the connection. */
  on(): this {
    return this;
  }

  removeListener(): this {
    return this;
  }

  end(body = ""): void {
    if (this.writableEnded) return;
    this.writableEnded = true;
    this.#answered({ status: this.statusCode, headers: this.#headers, body });
    this.ended?.();
  }
}
