import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { Logger } from "./platform/logger.js";
import { EXIT } from "./shutdown.js";

const FIRST_BACKOFF_MS = 500;
export const LONGEST_BACKOFF_MS = 15_000;
/** A child that lived this long starts with the first back-off again. */
const STABLE_MS = 30_000;

type Env = Readonly<Record<string, string | undefined>>;

/** Starting the child again would not help. */
export class HopelessError extends Error {}

/** One role as a child process, started again with back-off when it dies. */
export class Child {
  readonly #role: "api" | "worker";
  readonly #logger: Logger;
  #env: Env;
  #process: ChildProcess | null = null;
  #restart: NodeJS.Timeout | null = null;
  #backoffMs = FIRST_BACKOFF_MS;
  #wasReady = false;
  #stopping = false;

  constructor(role: "api" | "worker", env: Env, logger: Logger) {
    this.#role = role;
    this.#env = env;
    this.#logger = logger;
  }

  /** Resolves when the child is ready for the first time; rejects with a HopelessError where it never will be. */
  start(): Promise<void> {
    // Whatever ends this process, nothing of it stays.
    process.once("exit", () => this.#process?.kill("SIGKILL"));
    return new Promise((resolve, reject) => this.#spawn(resolve, reject));
  }

  #spawn(ready: () => void, hopeless: (error: Error) => void): void {
    const startedAt = Date.now();
    // A process group of its own: a Ctrl-C in the terminal reaches the launcher alone, which stops in order.
    const child = fork(join(import.meta.dirname, "main.js"), [this.#role], {
      env: this.#env,
      detached: true,
    });
    this.#process = child;
    const ended = (code: number | null, reason: string | null): void => {
      this.#process = null;
      if (this.#stopping) return;
      // Once it has run, what is in its way now may go away again.
      if (code === EXIT.config && !this.#wasReady) {
        hopeless(new HopelessError(`the ${this.#role} cannot start; its message stands above`));
        return;
      }
      if (Date.now() - startedAt > STABLE_MS) this.#backoffMs = FIRST_BACKOFF_MS;
      this.#logger.error(
        { child: this.#role, code, reason, backoffMs: this.#backoffMs },
        "a child has died: starting it again",
      );
      this.#restart = setTimeout(() => this.#spawn(ready, hopeless), this.#backoffMs);
      this.#backoffMs = Math.min(this.#backoffMs * 2, LONGEST_BACKOFF_MS);
    };
    child.once("message", () => {
      this.#wasReady = true;
      ready();
    });
    child.once("exit", ended);
    child.on("error", (error) => {
      // Where it could not even be started (no memory, too many processes) there is no "exit".
      if (child.pid === undefined) ended(null, error.message);
    });
  }

  /** Starts the child again, with other settings. */
  restartWith(env: Env): void {
    this.#env = { ...this.#env, ...env };
    this.#process?.kill("SIGTERM");
  }

  /** Asks the child to stop and waits for it; it ends by force when its own limit has passed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#restart !== null) clearTimeout(this.#restart);
    const child = this.#process;
    if (child?.pid === undefined) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
  }
}
