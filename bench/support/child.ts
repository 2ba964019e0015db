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
  const ready = await message(child);
  return {
    ready,
    cpuMicros: async () => {
      child.send("cpu");
      return Number((await message(child))["cpuMicros"]);
    },
    stop: async () => {
      const gone = once(child, "exit");
      child.disconnect();
      await gone;
    },
  };
}

async function message(child: ChildProcess): Promise<Readonly<Record<string, unknown>>> {
  const gone = once(child, "exit").then(([code]) => {
    throw new Error(`a benchmark's server ended with ${code}`);
  });
  const [received] = await Promise.race([once(child, "message"), gone]);
  gone.catch(() => {});
  return received as Record<string, unknown>;
}

/** In the child: tells that it is ready, answers questions, and ends with the benchmark. */
export function serve(ready: Readonly<Record<string, unknown>>): void {
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpuMicros: user + system });
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.(ready);
}
