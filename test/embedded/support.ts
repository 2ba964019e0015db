import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/embedded/postgres.js";
import { lifeOf } from "../../src/platform/processes.js";

export interface Launcher {
  child: ChildProcess;
  pid: number;
  /** What it printed: the server's addresses, or why there is none. */
  says: { url: string; adminUrl: string; port: number; uid: number; error?: string };
}

const folders: string[] = [];
const servers: EmbeddedPostgres[] = [];
const launchers: ChildProcess[] = [];

/** A folder that everybody may enter, as a home folder in a usual place is. */
export function temporaryFolder(owner = process.getuid?.() ?? 0): string {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-pg-"));
  chmodSync(folder, 0o755);
  if (owner !== process.getuid?.()) chownSync(folder, owner, owner);
  folders.push(folder);
  return folder;
}

export async function start(home: string): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ home, log: () => {} });
  servers.push(server);
  return server;
}

/** Starts launcher.ts; resolves when it has said something. */
export async function launch(home: string, as: { uid?: number; gid?: number } = {}): Promise<Launcher> {
  const script = fileURLToPath(new URL("launcher.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, home], {
    ...as,
    cwd: dirname(script),
    env: { PATH: process.env["PATH"], HOME: home },
    stdio: ["ignore", "pipe", "inherit"],
  });
  launchers.push(child);
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return { child, pid: child.pid ?? 0, says: JSON.parse(line) };
}

export async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
}

/** Runs one statement; the first column of the first row. */
export async function query(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client(url);
  client.on("error", () => {});
  await client.connect();
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: "array" });
    return rows[0]?.[0];
  } finally {
    await client.end();
  }
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await delay(20);
  }
}

/** The first process of the server, from its own lock file. */
export function postmasterOf(home: string): number {
  return Number.parseInt(readFileSync(join(home, "postgres/data/postmaster.pid"), "utf8"), 10);
}

export function isAlive(pid: number): boolean {
  return lifeOf(pid) !== undefined;
}

/** Stops and removes everything that was made here, whatever state a failed test left it in. */
export async function cleanUp(): Promise<void> {
  for (const child of launchers)
    if (child.exitCode === null && child.signalCode === null) await kill(child, "SIGKILL");
  await Promise.all(servers.map((server) => server.stop()));
  for (const folder of folders) {
    for (const home of [folder, join(folder, "home")]) {
      if (existsSync(join(home, "postgres/data/postmaster.pid"))) await killServer(postmasterOf(home));
      const outside = join(home, "postgres/outside");
      if (lstatSync(outside, { throwIfNoEntry: false }) !== undefined) {
        rmSync(readlinkSync(outside), { recursive: true, force: true });
      }
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

async function killServer(pid: number): Promise<void> {
  if (!isAlive(pid)) return;
  process.kill(pid, "SIGQUIT");
  await until(() => !isAlive(pid), `server ${pid} ends`);
}
