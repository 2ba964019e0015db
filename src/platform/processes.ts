import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

/** The same for as long as this process lives. */
let bootId: string | undefined;
const LINUX = process.platform === "linux";

/**
 * A token that tells this life of a process id from every other one (ids are used again, in containers at each
 * start), or undefined when no such process lives. A zombie is not alive: nobody may be there to reap it.
 */
export function lifeOf(pid: number): string | undefined {
  if (LINUX) {
    const stat = readText(`/proc/${pid}/stat`);
    if (stat === undefined) return undefined;
    // proc(5): the second field is in parentheses and may hold anything; state is field 3, starttime field 22.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    bootId ??= readText("/proc/sys/kernel/random/boot_id") ?? "";
    return lifeToken(bootId, fields[19] ?? "");
  }
  const { status, stdout } = spawnSync("ps", ["-o", "stat=,lstart=", "-p", String(pid)], {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
  });
  if (status !== 0 || stdout.trim().startsWith("Z")) return undefined;
  return short(stdout.trim().replace(/^\S+\s+/, ""));
}

/** What `lifeOf` says of a process that was started in the boot of this id at this clock tick (Linux). */
export function lifeToken(bootId: string, startTime: string): string {
  return short(`${bootId.trim()}\n ${startTime}`);
}

/** Twelve hex digits that stand for a text in names of files and processes. */
export function short(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
