import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { build } from "./build.js";

/** A server in a process of its own, as one side of a benchmark. */
export interface BenchServer {
  /** What the child said when it was ready. */
  readonly ready: Readonly<Record<string, unknown>>;
  /** Processor time that it has used so far, in microseconds. */
  cpuMicros(): Promise<number>;
  /** The child's answer to a question that it knows. */
  ask(question: string): Promise<Readonly<Record<string, unknown>>>;
  stop(): Promise<void>;
}

let built: Promise<string> | null = null;

/** Starts `bench/support/<name>.ts`, compiled, with settings that only it understands. */
export async function startServer(
  name: string,
  settings: Readonly<Record<string, string>>,
): Promise<BenchServer> {
  built ??= build();
  const child = fork(join(await built, `${name}.js`), [], {
    execArgv: (process.env["BENCH_EXEC_ARGV"] ?? "").split(" ").filter(Boolean),
    env: { ...process.env, NODE_ENV: "production", ...settings },
    stdio: ["ignore", process.env["BENCH_OUT"] ? "inherit" : "ignore", "inherit", "ipc"],
  });
  const { receive, gone } = messagesOf(child);
  const ready = await receive();
  const ask = (question: string): Promise<Readonly<Record<string, unknown>>> => {
    child.send(question);
    return receive();
  };
  return {
    ...{ ready, ask },
    cpuMicros: async () => Number((await ask("cpu"))["cpuMicros"]),
    stop: async () => {
      child.disconnect();
      await gone;
    },
  };
}

interface Listener {
  readonly resolve: (message: Readonly<Record<string, unknown>>) => void;
  readonly reject: (error: Error) => void;
}

/** A child's messages, each for who has waited longest; who waits when it ends is told so. */
function messagesOf(child: ChildProcess) {
  const waiting: Listener[] = [];
  child.on("message", (message) => waiting.shift()?.resolve(message as Record<string, unknown>));
  const gone = once(child, "exit").then(([code]) => {
    for (const { reject } of waiting) reject(new Error(`a benchmark's server ended with ${code}`));
  });
  const receive = () =>
    new Promise<Readonly<Record<string, unknown>>>((resolve, reject) => waiting.push({ resolve, reject }));
  return { receive, gone };
}

/** Answers to questions, by their first word; the other words come as arguments. */
export type Answers = Readonly<Record<string, (...words: string[]) => object | Promise<object>>>;

/** In the child: tells that it is ready, answers questions, and ends with the benchmark. */
export function serve(ready: Readonly<Record<string, unknown>>, answers: Answers = {}): void {
  process.on("message", async (question) => {
    const [name = "", ...words] = String(question).split(" ");
    process.send?.(await (answers[name] ?? used)(...words));
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.(ready);
}

/** Processor time and memory of this process so far. */
function used(): object {
  const { user, system } = process.cpuUsage();
  return { cpuMicros: user + system, rss: process.memoryUsage.rss() };
}
