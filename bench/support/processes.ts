import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The launcher's child in the role worker (Linux: by /proc). */
export function workerOf(launcher: number): number {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const found = pids.find((pid) => {
    const parent = /^PPid:\s+(\d+)/m.exec(fileOfProcess(pid, "status"))?.[1];
    return Number(parent) === launcher && fileOfProcess(pid, "cmdline").split("\0").includes("worker");
  });
  if (found === undefined) throw new Error("the worker process was not found");
  return Number(found);
}

/** The most that a process has had of memory so far. */
export function peakMemoryMib(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(fileOfProcess(String(pid), "status"))?.[1]) / 1_024;
}

/** Linux counts processor time in hundredths of a second, whatever the machine. */
const TICKS_PER_SECOND = 100;

/** Processor time of a process so far, and of the children that it has waited for (proc_pid_stat(5)), seconds. */
export function processorSeconds(pid: number): number {
  const stat = fileOfProcess(String(pid), "stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return ticks / TICKS_PER_SECOND;
}

/** Empty for a process that has just ended. */
function fileOfProcess(pid: string, name: string): string {
  try {
    return readFileSync(join("/proc", pid, name), "utf8");
  } catch {
    return "";
  }
}
