/** A lock file between processes that prepare the same work tree. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/**
 * Waits until no other living process holds the lock, takes it, and resolves to a function that gives it back.
 * `say` is told when there is somebody to wait for.
 */
export async function lock(file, say) {
  mkdirSync(dirname(file), { recursive: true });
  for (let told = false; ; ) {
    try {
      writeFileSync(file, `${process.pid} ${startOf(process.pid)}`, { flag: "wx" });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    const holder = readIfThere(file);
    if (holder === undefined) continue;
    const [pid, start] = holder.split(" ");
    const justMade = holder === "" && Date.now() - statSync(file).mtimeMs < 2_000;
    if (!justMade && (holder === "" || startOf(Number(pid)) !== start)) {
      takeAway(file, holder);
      continue;
    }
    if (!told && !justMade) say(`waiting for process ${pid}, which is at it already`);
    told ||= !justMade;
    await delay(200);
  }
}

/** Removes the lock of a dead process, unless somebody was quicker and it is a new one by now. */
function takeAway(file, holder) {
  const aside = `${file}.${process.pid}`;
  try {
    renameSync(file, aside);
    if (readIfThere(aside) !== holder && !existsSync(file)) renameSync(aside, file);
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

/** When a process started, so that a later one with the same id is not taken for it; undefined when none lives. */
function startOf(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error.code !== "EPERM") return undefined;
  }
  const stat = readIfThere(`/proc/${pid}/stat`);
  return stat === undefined ? "unknown" : stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

function readIfThere(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
