import { spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { memoryFuse, ToolError, type ToolResult, type ToolSpec } from "../substrate.js";
import { ended } from "./guard.js";

/** As whom and where a tool runs. */
export interface ToolUser {
  /** Undefined: the present user. */
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly cwd: string;
  readonly temp: string;
  /** Of each of its processes. */
  readonly memoryBytes: number;
}

const PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin";

/** The environment of everything in a place: nothing of the worker's, which holds secrets. */
export function cleanEnvironment(
  cwd: string,
  temp: string,
  own: Readonly<Record<string, string>>,
): Record<string, string> {
  return { PATH: PROGRAMS, HOME: cwd, LANG: "C.UTF-8", TMPDIR: temp, ...own };
}

/** The words before a command that change its user and take away what it needs no privilege for. */
export function changingUser(user: Pick<ToolUser, "uid" | "gid">, more: readonly string[] = []): string[] {
  const ids = user.uid === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"];
  return ["setpriv", ...ids, "--no-new-privs", ...more, "--"];
}

/** The words before a command that limit what one process of it may take; what is reserved counts here too. */
export function limiting(memoryBytes: number, openFiles: number, reservedBytes = 0): string[] {
  const data = memoryFuse({ memoryBytes }) + reservedBytes;
  return ["prlimit", `--data=${data}`, `--nofile=${openFiles}`, "--core=0", "--"];
}

/** Runs a tool to its end; see `Place.run`. */
export async function runTool(user: ToolUser, tool: ToolSpec, signal: AbortSignal): Promise<ToolResult> {
  signal.throwIfAborted();
  const [command = "", ...words] = [
    ...limiting(user.memoryBytes, 1024),
    // With its worker it ends: nobody would take its result.
    ...changingUser(user, ["--pdeathsig=KILL"]),
    tool.program,
    ...tool.args,
  ];
  const child = spawn(command, words, {
    cwd: user.cwd,
    env: cleanEnvironment(user.cwd, user.temp, tool.env),
    // A group of its own, so that what it starts is ended with it.
    detached: true,
    stdio: [tool.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const kill = () => killGroup(child.pid);
  const timer = setTimeout(kill, tool.timeoutMs);
  signal.addEventListener("abort", kill, { once: true });
  const flows: Promise<unknown>[] = [];
  if (tool.stdin !== undefined && child.stdin !== null) flows.push(feed(tool.stdin, child.stdin, kill));
  if (tool.stdout !== undefined && child.stdout !== null) flows.push(drain(child.stdout, tool.stdout, kill));
  try {
    const [end, ...faults] = await Promise.all([ended(child, tool.stdout === undefined), ...flows]);
    signal.throwIfAborted();
    const fault = faults.find((found) => found !== undefined);
    if (fault !== undefined) throw fault;
    const { code, stdout, stderr } = end;
    if (code === 0) return { stdout, stderr };
    const how = code === null ? "was killed" : `ended with exit code ${code}`;
    throw new ToolError(`${tool.program} ${how}`, code, { stdout, stderr });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", kill);
  }
}

/** A tool that stops reading early says why by its exit code; a source that fails is a fault of its own. */
async function feed(from: Readable, to: Writable, kill: () => void): Promise<unknown> {
  let failed: unknown;
  from.once("error", (error) => {
    failed = error;
    kill();
  });
  await pipeline(from, to).catch(() => {});
  return failed;
}

async function drain(from: Readable, to: Writable, kill: () => void): Promise<unknown> {
  try {
    await pipeline(from, to);
    return undefined;
  } catch (error) {
    kill();
    return error;
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // None of the group is left.
  }
}
