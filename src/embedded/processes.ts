import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

const LINUX = process.platform === "linux";

/** One process of a PostgreSQL server. */
export interface ServerProcess {
  pid: number;
  /** The first process of the server, which commands the others. */
  postmaster: boolean;
}

/** The words of a process's command line; empty for one that is gone or a zombie. */
export function commandOf(pid: number): string[] {
  if (LINUX) return (readText(`/proc/${pid}/cmdline`) ?? "").split("\0").filter((word) => word !== "");
  const { stdout } = spawnSync("ps", ["-ww", "-o", "command=", "-p", String(pid)], { encoding: "utf8" });
  return (stdout ?? "")
    .trim()
    .split(/\s+/)
    .filter((word) => word !== "");
}

/** Whether these are the words of any PostgreSQL server process (its children rewrite theirs to `postgres: ...`). */
export function isPostgres(command: string[]): boolean {
  const program = command[0] ?? "";
  return /(^|\/)postgres$/.test(program) || program.startsWith("postgres:");
}

/**
 * The live processes of the servers that were started under this `cluster_name`, which PostgreSQL shows in the
 * title of each of its processes. Command lines, because a root without CAP_SYS_PTRACE (a container's) cannot
 * see the working folders of other users' processes.
 */
export function serverProcesses(clusterName: string): ServerProcess[] {
  const found: ServerProcess[] = [];
  for (const { pid, command } of allProcesses()) {
    if (!isPostgres(command)) continue;
    const text = command.join(" ");
    if (text.startsWith(`postgres: ${clusterName}: `)) found.push({ pid, postmaster: false });
    else if (command.includes(`cluster_name=${clusterName}`)) found.push({ pid, postmaster: true });
  }
  return found;
}

/** Sends a signal; a process that is gone already is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Polls until `condition` holds (true) or `milliseconds` have passed (false). */
export async function within(milliseconds: number, condition: () => boolean): Promise<boolean> {
  const deadline = performance.now() + milliseconds;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await delay(20);
  }
  return true;
}

function allProcesses(): { pid: number; command: string[] }[] {
  if (LINUX) {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map((name) => ({ pid: Number(name), command: commandOf(Number(name)) }));
  }
  const { stdout } = spawnSync("ps", ["-axww", "-o", "pid=,command="], { encoding: "utf8" });
  return (stdout ?? "").split("\n").map((line) => {
    const [pid, ...command] = line.trim().split(/\s+/);
    return { pid: Number(pid), command };
  });
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
