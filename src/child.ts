import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { Logger } from "./platform/logger.js";
import { EXIT } from "./shutdown.js";

const FIRST_BACKOFF_MS = 500;
export const LONGEST_BACKOFF_MS = 15_000;
/** A child that lived this long starts with the first back-off again. */
const STABLE_MS = 30_000;

type Env = Readonly<Record<string, string | undefined>>;

/** One role as a child process, started again with back-off when it dies. */
export class Child {
  readonly #role: "api" | "worker";
  readonly #env: Env;
  readonly #logger: Logger;
  #process: ChildProcess | null = null;
  #restart: NodeJS.Timeout | null = null;
  #backoffMs = FIRST_BACKOFF_MS;
  #stopping = false;

  constructor(role: "api" | "worker", env: Env, logger: Logger) {
    this.#role = role;
    this.#env = env;
    this.#logger = logger;
  }

  /** Resolves when the child is ready for the first time; rejects when starting it again would not help. */
  start(): Promise<void> {
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
    child.on("message", () => ready());
    child.on("exit", (code, signal) => {
      this.#process = null;
      if (this.#stopping) return;
      if (code === EXIT.config)
        return hopeless(new Error(`the ${this.#role} cannot start; its message stands above`));
      if (Date.now() - startedAt > STABLE_MS) this.#backoffMs = FIRST_BACKOFF_MS;
      this.#logger.error(
        { role: this.#role, code, signal, backoffMs: this.#backoffMs },
        "a child has died: starting it again",
      );
      this.#restart = setTimeout(() => this.#spawn(ready, hopeless), this.#backoffMs);
      this.#backoffMs = Math.min(this.#backoffMs * 2, LONGEST_BACKOFF_MS);
    });
  }

  /** Asks the child to stop and waits for it; it ends by force when its own limit has passed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#restart !== null) clearTimeout(this.#restart);
    const child = this.#process;
    if (child === null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
  }
}
