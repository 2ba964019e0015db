import { readFileSync, statSync } from "node:fs";
import { open, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { lifeOf, lifeToken } from "../../platform/processes.js";
import type { PlaceStatus } from "../substrate.js";
import type { Layout } from "./layout.js";

/** The log is cut when it has grown to this; its end is kept beside it. */
const LOG_LIMIT = 4 * 1024 * 1024;
const LOG_KEPT = 512 * 1024;

/** What the starter wrote before it became the server: `<pid> <start time in clock ticks> <boot id>`. */
interface Started {
  readonly pid: number;
  readonly life: string;
  readonly at: Date;
}

/** Asked of every server every second: what a small file and /proc say comes sooner than another thread could ask. */
export async function statusOf(layout: Layout): Promise<PlaceStatus> {
  const started = readStarted(layout);
  if (started === null) return { state: "stopped" };
  const { pid, life, at: startedAt } = started;
  const alive = lifeOf(pid) === life;
  if (!alive && !(await lockIsHeld(layout))) return { state: "stopped" };
  return { state: alive ? "running" : "ending", pid, life, startedAt };
}

/** Of a server's processes together; also cuts its log. */
export async function memoryAndLog(layout: Layout): Promise<number | null> {
  // On a full disk later: what its server does is seen all the same.
  await boundLog(layout).catch(() => {});
  const status = await statusOf(layout);
  return status.state === "running" ? memoryOf(status.pid) : null;
}

function readStarted(layout: Layout): Started | null {
  const file = join(layout.control, "server.pid");
  const [pid, time, boot] = textOf(file).trim().split(" ");
  if (pid === undefined || time === undefined || boot === undefined) return null;
  const at = statSync(file, { throwIfNoEntry: false })?.mtime ?? new Date(0);
  return { pid: Number(pid), life: lifeToken(boot, time), at };
}

/** Empty where there is no such file. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Whether any process still holds the lock that the server took: its children inherit it. By proc_locks(5). */
async function lockIsHeld(layout: Layout): Promise<boolean> {
  const inode = await stat(join(layout.control, "server.lock")).then(
    (found) => found.ino,
    () => null,
  );
  if (inode === null) return false;
  const locks = (await readOrNull("/proc/locks")) ?? "";
  return locks.split("\n").some((line) => line.includes(" FLOCK ") && line.includes(`:${inode} `));
}

/** Anonymous memory of a process and all below it, and what they share counted once. */
function memoryOf(pid: number): number | null {
  let own = 0;
  let shared = 0;
  const left = [pid];
  for (let at = left.pop(); at !== undefined; at = left.pop()) {
    const status = textOf(`/proc/${at}/status`);
    own += kilobytes(status, "RssAnon");
    shared = Math.max(shared, kilobytes(status, "RssShmem"));
    // Servers start processes from their first thread.
    const children = textOf(`/proc/${at}/task/${at}/children`);
    for (const child of children.split(" ")) if (child !== "") left.push(Number(child));
  }
  return own === 0 ? null : (own + shared) * 1024;
}

function kilobytes(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
}

/** Servers append, so a cut file goes on from its new end. */
async function boundLog(layout: Layout): Promise<void> {
  const size = await stat(layout.log).then(
    (found) => found.size,
    () => 0,
  );
  if (size <= LOG_LIMIT) return;
  await writeFile(`${layout.log}.1`, await tailOf(layout.log, LOG_KEPT), { mode: 0o600 });
  await truncate(layout.log, 0);
}

/** The end of the log, whole lines. */
export async function logTail(layout: Layout, bytes: number): Promise<string> {
  const now = await tailOf(layout.log, bytes);
  const before = now.length < bytes ? await tailOf(`${layout.log}.1`, bytes - now.length) : Buffer.alloc(0);
  const text = Buffer.concat([before, now]).toString("utf8");
  return text.length < bytes ? text : text.slice(text.indexOf("\n") + 1);
}

async function tailOf(path: string, bytes: number): Promise<Buffer> {
  const file = await open(path, "r").catch(() => null);
  if (file === null) return Buffer.alloc(0);
  try {
    const { size } = await file.stat();
    const length = Math.min(size, bytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Names in a folder that may not be there. */
export async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

export async function readOrNull(path: string): Promise<string | null> {
  return readFile(path, "utf8").catch(() => null);
}
