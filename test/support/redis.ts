import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { freePort } from "./processes.js";
import { until } from "./until.js";

/** A redis-server of a test's own, on loopback, without persistence: killed, it has forgotten everything. */
export interface TestRedis {
  readonly url: string;
  /** Starts it, where it does not run. */
  start(): Promise<void>;
  /** `kill -9`, or a stop and a continuation. Says whether it ran. */
  signal(name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<boolean>;
  /** One command, on a connection of its own. */
  command(name: string, ...args: string[]): Promise<unknown>;
  /** Ends it and removes its folder. */
  close(): Promise<void>;
}

const BINARY = process.env["GATEHOUSE_TEST_REDIS"] ?? "redis-server";

export function hasRedis(): boolean {
  return spawnSync(BINARY, ["--version"], { stdio: "ignore" }).status === 0;
}

export async function createRedis(): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-redis-"));
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  let child: ChildProcess | null = null;
  const onExit = (): void => void child?.kill("SIGKILL");
  process.once("exit", onExit);

  const command: TestRedis["command"] = async (name, ...args) => {
    const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null });
    client.on("error", () => {});
    try {
      await client.connect();
      return await client.call(name, ...args);
    } finally {
      client.disconnect();
    }
  };
  const signal: TestRedis["signal"] = async (name) => {
    if (child === null) return false;
    const gone = name === "SIGKILL" ? once(child, "exit") : null;
    child.kill(name);
    await gone;
    if (name === "SIGKILL") child = null;
    return true;
  };
  return {
    url,
    command,
    signal,
    async start() {
      if (child !== null) return;
      const settings = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder];
      child = spawn(BINARY, settings, { stdio: "ignore" });
      await until("redis answers", () => command("PING").catch(() => null));
    },
    async close() {
      process.off("exit", onExit);
      await signal("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
  };
}
