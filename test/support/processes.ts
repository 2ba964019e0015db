import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Installation } from "./installation.js";
import { until } from "./until.js";

const MAIN = resolve(import.meta.dirname, "../../dist/main.js");

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One line of a process's log. */
export interface LogEntry {
  readonly level: number;
  readonly role?: string;
  readonly pid?: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** `dist/main.js` in a process of its own. */
export interface TestProcess {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  isRunning(): boolean;
  /** Everything printed so far. */
  output(): string;
  /** What of that are log entries. */
  entries(): LogEntry[];
  /** Waits until it has printed something. */
  says(text: string, timeoutMs?: number): Promise<void>;
  signal(name: NodeJS.Signals): void;
  /** Sends a signal and waits for the end. */
  end(name: NodeJS.Signals): Promise<Exit>;
}

export type ProcessEnv = Readonly<Record<string, string>>;

const running = new Set<TestProcess>();
process.on("exit", () => {
  for (const one of running) one.signal("SIGKILL");
});

/** Starts a role; nothing is inherited from this environment but where programs are. Not waited for. */
export function spawnRole(role: "all" | "api" | "worker", env: ProcessEnv): TestProcess {
  const child = spawn(process.execPath, [MAIN, role], {
    // Not here: a developer's .env would be read.
    cwd: tmpdir(),
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  // "close", not "exit": everything that it printed has been read.
  const exited = once(child, "close").then(([code, signal]): Exit => {
    running.delete(started);
    return { code, signal };
  });
  const started: TestProcess = {
    pid: child.pid ?? 0,
    exited,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    output: () => output,
    entries: () => output.split("\n").flatMap(toEntry),
    says: async (text, timeoutMs) => {
      await until(
        `${role} ${child.pid} says "${text}"`,
        () => {
          if (output.includes(text)) return true;
          if (child.exitCode !== null)
            throw new Error(`${role} has ended with ${child.exitCode}:\n${output}`);
          return false;
        },
        timeoutMs,
      );
    },
    signal: (name) => void child.kill(name),
    end: async (name) => {
      child.kill(name);
      return exited;
    },
  };
  running.add(started);
  return started;
}

const READY = { all: "Gatehouse is ready", api: "Server listening", worker: "worker ready" } as const;
const START_LIMIT_MS = 60_000;

/** Starts a role and waits until it is ready. */
export async function startRole(role: "all" | "api" | "worker", env: ProcessEnv): Promise<TestProcess> {
  const started = spawnRole(role, env);
  await started.says(READY[role], START_LIMIT_MS);
  return started;
}

/** Starts a worker for an installation whose api is in this process, without regions, and waits until it is ready. */
export function startWorkerOf(
  { database, filesRoot }: Installation,
  masterKey: string,
  more: ProcessEnv = {},
): Promise<TestProcess> {
  return startRole("worker", {
    DATABASE_URL: database.url,
    GATEHOUSE_MASTER_KEY: masterKey,
    GATEHOUSE_HOME: join(filesRoot, ".."),
    FILES_ROOT: filesRoot,
    // Looking for engines of databases takes a second.
    GATEHOUSE_REGIONS: "none",
    OUTBOUND_ALLOW: "loopback",
    ...more,
  });
}

/** Ends whatever was started here and still runs, stopped ones too. For `afterEach`. */
export async function endAllProcesses(): Promise<void> {
  await Promise.all([...running].map((one) => one.end("SIGKILL")));
}

function toEntry(line: string): LogEntry[] {
  if (!line.startsWith("{")) return [];
  try {
    return [JSON.parse(line) as LogEntry];
  } catch {
    return [];
  }
}

/** A port of the loopback address that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}
