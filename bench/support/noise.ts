import { readFileSync } from "node:fs";

/**
 * Processor time that the whole machine has spent so far, in milliseconds: user, nice, system and interrupts
 * (proc_stat(5), in ticks of 10 ms). Null where there is no /proc.
 */
export function machineBusyMs(): number | null {
  try {
    const [, user, nice, system, , , irq, softirq] = (
      readFileSync("/proc/stat", "utf8").split("\n", 1)[0] ?? ""
    )
      .split(/\s+/)
      .map(Number);
    const ticks = [user, nice, system, irq, softirq].reduce<number>(
      (sum, each) => sum + (each ?? Number.NaN),
      0,
    );
    return Number.isFinite(ticks) ? ticks * 10 : null;
  } catch {
    return null;
  }
}

/** Processor time of this process, its threads included, in milliseconds. */
export function ownBusyMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
