import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import fp from "fastify-plugin";

type Level = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

/** Makes the loggers of requests when they have something to say, which most have not. */
export const requestLoggerPlugin = fp(
  async (app: FastifyInstance) => {
    app.setChildLoggerFactory(
      (parent, bindings, options) => new RequestLogger(() => parent.child(bindings, options)),
    );
  },
  { name: "request-logger" },
);

class RequestLogger implements FastifyBaseLogger {
  readonly #make: () => FastifyBaseLogger;
  #made: FastifyBaseLogger | null = null;

  constructor(make: () => FastifyBaseLogger) {
    this.#make = make;
  }

  get #logger(): FastifyBaseLogger {
    this.#made ??= this.#make();
    return this.#made;
  }

  #write(level: Level, entry: readonly unknown[]): void {
    Reflect.apply(this.#logger[level], this.#logger, entry);
  }

  get level(): string {
    return this.#logger.level;
  }

  set level(level: string) {
    this.#logger.level = level;
  }

  child(...of: Parameters<FastifyBaseLogger["child"]>): FastifyBaseLogger {
    return this.#logger.child(...of);
  }

  trace(...entry: unknown[]): void {
    this.#write("trace", entry);
  }

  debug(...entry: unknown[]): void {
    this.#write("debug", entry);
  }

  info(...entry: unknown[]): void {
    this.#write("info", entry);
  }

  warn(...entry: unknown[]): void {
    this.#write("warn", entry);
  }

  error(...entry: unknown[]): void {
    this.#write("error", entry);
  }

  fatal(...entry: unknown[]): void {
    this.#write("fatal", entry);
  }

  silent(...entry: unknown[]): void {
    this.#write("silent", entry);
  }
}
