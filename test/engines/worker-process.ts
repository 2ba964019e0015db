import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Fence, PlaceSpec, ServerSpec } from "../../src/engines/substrate.js";
import { until } from "../support/until.js";

const SCRIPT = fileURLToPath(new URL("worker.ts", import.meta.url));

export interface WorkerTask {
  readonly root: string;
  readonly spec: PlaceSpec;
  readonly fence: Fence;
  readonly server: ServerSpec;
  readonly uid?: number;
  readonly effect: "start" | "stop" | "write" | "remove" | "tool" | "all";
}

const workers = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of workers) child.kill("SIGKILL");
});

/** A worker in a process of its own that has opened a place and waits to be let go. */
export interface WorkerProcess {
  readonly child: ChildProcess;
  /** Everything it said. */
  said(): string;
  /** Waits until it has said this. */
  says(text: string): Promise<void>;
  go(): void;
  /** Its last words, once it has ended. */
  ended(): Promise<string>;
}

/** Starts a worker; resolves when its place is open (or could not be opened). */
export async function startWorker(task: WorkerTask): Promise<WorkerProcess> {
  const child = spawn(process.execPath, ["--import", "tsx", SCRIPT], { stdio: ["pipe", "pipe", "inherit"] });
  workers.add(child);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const exited = once(child, "exit");
  child.stdin.write(`${JSON.stringify(task)}\n`);
  const says = async (text: string) => {
    await until(`the worker says ${text}`, () => output.includes(text), 60_000);
  };
  await until("the worker is ready", () => output.includes("\n"), 60_000);
  return {
    child,
    said: () => output,
    says,
    go: () => child.stdin.write("go\n"),
    async ended() {
      await exited;
      return output.trim().split("\n").at(-1) ?? "";
    },
  };
}
