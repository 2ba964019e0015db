import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { lifeOf } from "../platform/processes.js";

interface Claim {
  name: string;
  pid: number;
  held: boolean;
}

/**
 * Makes this process the only launcher of the server in `folder` until the returned function is called (or it
 * dies: claims of dead processes count for nothing). Throws an error that names the other process when one holds
 * it already.
 *
 * Each launcher writes a claim under a name that no other process can have and then looks for others. A single
 * lock file would have to be taken over from a dead owner, and two takers can do that at once; here nothing is
 * ever taken from anybody. Of two that arrive together the one with the lower name stays.
 */
export async function claimLauncher(folder: string, home: string): Promise<() => void> {
  mkdirSync(folder, { recursive: true });
  const own = `${process.pid}.${lifeOf(process.pid) ?? "unknown"}`;
  const path = join(folder, own);
  try {
    writeFileSync(path, "claiming", { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw refusal(home, process.pid);
    throw error;
  }
  const release = () => rmSync(path, { force: true });
  try {
    const deadline = performance.now() + 5_000;
    for (;;) {
      const others = liveClaims(folder).filter((claim) => claim.name !== own);
      if (others.length === 0) break;
      const winner = others.find((claim) => claim.held || claim.name < own);
      // The rest see this claim in turn and withdraw; one that looked before it was written becomes a holder.
      if (winner !== undefined || performance.now() > deadline) {
        throw refusal(home, (winner ?? others[0])?.pid);
      }
      await delay(20);
    }
    writeFileSync(path, "held");
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

function liveClaims(folder: string): Claim[] {
  const claims: Claim[] = [];
  for (const name of readdirSync(folder)) {
    const [pid, life] = name.split(".");
    if (lifeOf(Number(pid)) !== life) rmSync(join(folder, name), { force: true });
    else claims.push({ name, pid: Number(pid), held: readState(join(folder, name)) === "held" });
  }
  return claims;
}

function readState(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // withdrawn since the folder was listed
  }
}

function refusal(home: string, pid: number | undefined): Error {
  return new Error(
    `another Gatehouse (process ${pid}) already runs with the home folder ${home}. ` +
      "Stop it first, or give this one a GATEHOUSE_HOME of its own.",
  );
}
