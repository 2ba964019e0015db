import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { runAs } from "./account.js";
import type { Binaries } from "./binaries.js";
import { clusterName } from "./leftovers.js";
import type { Place } from "./place.js";
import { serverProcesses, signal, within } from "./processes.js";

/** How the server's first process ended: one of the two is null. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A server process that was started and may not answer yet. */
export interface Server {
  port: number;
  exited: Promise<Exit>;
  /** In words, how it ended; undefined while it runs. */
  ending(): string | undefined;
  /**
   * Ends all sessions and stops in order; immediately after 10 s, by force 5 s later. No process of it goes on then. Never
   * rejects.
   */
  stop(): Promise<void>;
}

/** What follows the first process of a server takes milliseconds to end. */
const FOLLOWERS_MS = 2_000;

/**
 * Starts the server process. It gets a process group of its own, so that Ctrl-C in a terminal does not reach it
 * and the launcher can stop it last; when the launcher exits without stopping it, it is told to stop.
 */
export function spawnServer(place: Place, binaries: Binaries, port: number): Server {
  // What it prints before its own log works; a pipe would break when the launcher is killed.
  const output = openSync(startupLog(place), "w", 0o600);
  const child = spawn(binaries.postgres, ["-D", place.data, ...settings(place, port)], {
    ...runAs(place.account),
    cwd: "/",
    env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
    detached: true,
    stdio: ["ignore", output, output],
  });
  closeSync(output);

  let ending: string | undefined;
  const stopWithLauncher = () => sendTo(child, "SIGINT");
  process.once("exit", stopWithLauncher);
  const exited = new Promise<Exit>((resolve) => {
    const ended = (exit: Exit, words: string) => {
      ending = words;
      process.removeListener("exit", stopWithLauncher);
      resolve(exit);
    };
    child.once("exit", (code, name) => ended({ code, signal: name }, name ?? `exit code ${code}`));
    child.once("error", (error) => {
      if (child.pid === undefined) ended({ code: null, signal: null }, error.message);
    });
  });
  const name = clusterName(place.data);
  const stop = async (): Promise<void> => {
    await stopChild(child, exited);
    // The process that writes the log is the last: it ends by itself, when all others are gone.
    const gone = (): boolean => serverProcesses(name).length === 0;
    if (!(await within(FOLLOWERS_MS, gone)))
      for (const { pid } of serverProcesses(name)) signal(pid, "SIGKILL");
  };
  return { port, exited, ending: () => ending, stop };
}

/**
 * Resolves when the server lets its superuser in. Rejects, with the last lines of its log, when it ends, when it says
 * nothing for 30 s, or when it is still replaying its log after 10 minutes.
 */
export async function untilReady(server: Server, adminUrl: string, place: Place): Promise<void> {
  const start = performance.now();
  for (;;) {
    const ending = server.ending();
    if (ending !== undefined) {
      throw new Error(`PostgreSQL ended while starting (${ending}):\n${lastLines(place)}`);
    }
    const problem = await tryToConnect(adminUrl);
    if (problem === undefined) return;
    if (problem.code?.startsWith("28") === true) {
      throw new Error(`PostgreSQL refuses the kept password of ${place.data}: ${problem.message}`, {
        cause: problem,
      });
    }
    // 57P03: it answers, and is recovering from a crash, which takes as long as it takes.
    const patience = problem.code === "57P03" ? 600_000 : 30_000;
    if (performance.now() - start > patience) {
      throw new Error(
        `PostgreSQL is not ready after ${patience / 1000} s (${problem.message}):\n${lastLines(place)}`,
      );
    }
    await delay(25);
  }
}

/** The remembered port when it is free, else any free one of the loopback address. */
export async function choosePort(remembered: number | null): Promise<number> {
  if (remembered !== null && (await probePort(remembered)) !== undefined) return remembered;
  const port = await probePort(0);
  if (port === undefined) throw new Error("no port of 127.0.0.1 is free");
  return port;
}

/** Resolves to the port, or to undefined when something listens on it. 0 asks for any. */
export function probePort(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(undefined));
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : undefined));
    });
  });
}

function settings(place: Place, port: number): string[] {
  const values: Record<string, string | number> = {
    listen_addresses: "127.0.0.1",
    port,
    unix_socket_directories: "",
    cluster_name: clusterName(place.data),
    max_connections: 200,
    shared_buffers: "128MB",
    fsync: "on",
    synchronous_commit: "on",
    // One machine and no replicas: nothing reads the log but crash recovery.
    wal_level: "minimal",
    max_wal_senders: 0,
    jit: "off",
    timezone: "UTC",
    log_timezone: "UTC",
    // A file per weekday, started afresh a week later.
    logging_collector: "on",
    log_directory: place.log,
    log_filename: "postgresql-%a.log",
    log_rotation_age: "1d",
    log_rotation_size: 0,
    log_truncate_on_rotation: "on",
    log_file_mode: "0600",
    log_line_prefix: "%m [%p] %q%u@%d ",
  };
  return Object.entries(values).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

async function tryToConnect(url: string): Promise<(Error & { code?: string }) | undefined> {
  const client = new pg.Client({ connectionString: url, ssl: false, connectionTimeoutMillis: 5_000 });
  client.on("error", () => {}); // a connection that breaks while it is closed
  try {
    await client.connect();
    await client.end();
    return undefined;
  } catch (error) {
    return error as Error & { code?: string };
  }
}

async function stopChild(child: ChildProcess, exited: Promise<Exit>): Promise<void> {
  const steps: [NodeJS.Signals, number][] = [
    ["SIGINT", 10_000],
    ["SIGQUIT", 5_000],
    ["SIGKILL", 5_000],
  ];
  for (const [name, patience] of steps) {
    sendTo(child, name);
    const timer = new AbortController();
    const ended = await Promise.race([
      exited.then(() => true),
      delay(patience, false, { signal: timer.signal }).catch(() => false),
    ]);
    timer.abort();
    if (ended) return;
  }
}

function sendTo(child: ChildProcess, name: NodeJS.Signals): void {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
    signal(child.pid, name);
}

function startupLog(place: Place): string {
  return join(place.folder, "startup.log");
}

/** The end of what the server printed and of its newest log file. */
function lastLines(place: Place): string {
  const logs = readdirSync(place.log)
    .map((name) => join(place.log, name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)
    .slice(0, 1);
  return [startupLog(place), ...logs]
    .flatMap((file) => readFileSync(file, "utf8").trimEnd().split("\n").slice(-12))
    .filter((line) => line !== "")
    .join("\n");
}
