import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { QueueBackend } from "../../src/operations/queue.js";

/** A consumer in a process of its own, which never finishes anything. */
export interface ConsumerProcess {
  readonly child: ChildProcess;
  /** Ids that it was given. */
  received(): readonly string[];
}

export async function spawnConsumer(backend: QueueBackend): Promise<ConsumerProcess> {
  const script = fileURLToPath(new URL("consumer-main.ts", import.meta.url));
  const child = fork(script, [JSON.stringify(backend)], { execArgv: ["--import", "tsx"] });
  process.once("exit", () => child.kill("SIGKILL"));
  const received: string[] = [];
  child.on("message", (id) => received.push(String(id)));
  await once(child, "message");
  return { child, received: () => received };
}

export async function killConsumer({ child }: ConsumerProcess): Promise<void> {
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}
