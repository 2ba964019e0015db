import { setTimeout as delay } from "node:timers/promises";
import { type LogEntry, type ProcessEnv, spawnRole, type TestProcess } from "../../support/processes.js";
import { until } from "../../support/until.js";
import type { Counts, Findings } from "./findings.js";
import type { TcpProxy } from "./tcp-proxy.js";

const READY = { api: "Server listening", worker: "worker ready" } as const;
/** A stop takes 30 s at most; on a busy machine the end of a process is heard of a little later. */
const STOP_LIMIT_MS = 33_000;
const RESTART_MS = 300;
const ERROR_LEVEL = 50;

export interface MemberOptions {
  readonly name: string;
  readonly role: "api" | "worker";
  readonly env: ProcessEnv;
  /** Between it and the database. */
  readonly database: TcpProxy;
  /** Between clients and it; null for a worker. */
  readonly front: TcpProxy | null;
  readonly findings: Findings;
  readonly counts: Counts;
}

/** One process of the installation: whatever ends it, it is started again, as an operator's supervisor does. */
export class Member {
  readonly name: string;
  readonly role: "api" | "worker";
  readonly database: TcpProxy;
  readonly front: TcpProxy | null;
  readonly #options: MemberOptions;
  /** Every process that there was. */
  readonly #lives: TestProcess[] = [];
  /** Those that end because they were told to, and what told them last. */
  readonly #felled = new Map<TestProcess, "SIGTERM" | "SIGKILL">();
  #wanted = true;
  #supervising: Promise<void> | null = null;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.name = options.name;
    this.role = options.role;
    this.database = options.database;
    this.front = options.front;
  }

  start(): void {
    this.#supervising ??= this.#supervise();
  }

  async #supervise(): Promise<void> {
    while (this.#wanted) {
      const life = spawnRole(this.role, this.#options.env);
      this.#lives.push(life);
      const { code, signal } = await life.exited;
      const wasReady = life.output().includes(READY[this.role]);
      if (this.#felled.has(life)) continue;
      if (wasReady) {
        const end = life.output().split("\n").slice(-15).join("\n");
        this.#options.findings.add(`${this.name} (${life.pid}) ended by itself: ${code ?? signal}\n${end}`);
      } else this.#options.counts.add(`${this.role} could not start yet`);
      await delay(RESTART_MS);
    }
  }

  get #present(): TestProcess | undefined {
    return this.#lives.at(-1);
  }

  get isReady(): boolean {
    const life = this.#present;
    return life?.isRunning() === true && life.output().includes(READY[this.role]);
  }

  ready(timeoutMs: number): Promise<unknown> {
    return until(`${this.name} is ready`, () => this.isReady, timeoutMs);
  }

  /** `kill -9`. Says whether it ran. */
  kill(): boolean {
    const life = this.#present;
    if (life === undefined || !life.isRunning()) return false;
    this.#felled.set(life, "SIGKILL");
    life.signal("SIGKILL");
    return true;
  }

  /** Stops it in its tracks; the returned function lets this very process go on. Null: it does not run. */
  pause(): (() => void) | null {
    const life = this.#present;
    if (life === undefined || !life.isRunning()) return null;
    life.signal("SIGSTOP");
    return () => life.signal("SIGCONT");
  }

  /** Asks it to end in order, which it has to do within its time, whatever else happens but `kill`. Says whether it ran. */
  async stop(): Promise<boolean> {
    const life = this.#present;
    if (life === undefined || !life.isRunning() || this.#felled.has(life)) return false;
    this.#felled.set(life, "SIGTERM");
    const timer = new AbortController();
    const late = delay(STOP_LIMIT_MS, true, { signal: timer.signal }).catch(() => false);
    life.signal("SIGTERM");
    if (await Promise.race([late, life.exited.then(() => false)])) {
      this.#options.findings.add(`${this.name} (${life.pid}) does not heed SIGTERM`);
      this.kill();
    }
    timer.abort();
    const { code, signal } = await life.exited;
    if (code !== 0 && this.#felled.get(life) === "SIGTERM")
      this.#options.findings.add(`${this.name} (${life.pid}) did not end in order: ${code ?? signal}`);
    return true;
  }

  /** Ends it for good, in order: nothing is in the way of that. */
  async retire(): Promise<void> {
    this.#wanted = false;
    await this.stop();
    await this.#supervising;
  }

  /** Ends it for good, by force. */
  async destroy(): Promise<void> {
    this.#wanted = false;
    this.kill();
    await this.#supervising;
    await this.database.close();
    await this.front?.close();
  }

  /** Process ids of its lives that have not ended. */
  pids(): number[] {
    return this.#lives.filter((life) => life.isRunning()).map(({ pid }) => pid);
  }

  /** What it logged as errors: nothing that is away for a moment is one. */
  errors(): LogEntry[] {
    return this.#lives.flatMap((life) => life.entries().filter(({ level }) => level >= ERROR_LEVEL));
  }

  /** Everything that was printed. */
  output(): string {
    return this.#lives.map((life) => life.output()).join("");
  }
}
