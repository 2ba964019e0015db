import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { lifeOf, short } from "../platform/processes.js";
import { commandOf, isPostgres, serverProcesses, signal, within } from "./processes.js";

/**
 * The name under which the server of a data folder runs, shown in the title of each of its processes. It comes
 * from the folder's identity on disk: a moved folder keeps it and a copied one gets another, so nobody ever takes
 * the server of a copy for his own.
 */
export function clusterName(data: string): string {
  const { dev, ino } = statSync(data);
  return `gatehouse-${short(`${dev}:${ino}`)}`;
}

/**
 * Clears the way for a start: stops a server that outlived its launcher (kill -9), waits for the processes of a
 * server that was killed itself, and removes a lock file whose process id now belongs to something else.
 * The caller holds the launcher's lock. Throws where a server that Gatehouse did not start uses the folder.
 */
export async function clearLeftovers(data: string, log: (line: string) => void): Promise<void> {
  const name = clusterName(data);
  const running = serverProcesses(name);
  if (running.length > 0) {
    const pid = running.find((process) => process.postmaster)?.pid;
    log(
      pid === undefined
        ? "waiting for a killed server to end"
        : `stopping the server (process ${pid}) that an earlier run left behind`,
    );
    await stopServer(name, data);
  }
  const lockFile = join(data, "postmaster.pid");
  const pid = readPid(lockFile);
  if (pid === undefined || lifeOf(pid) === undefined) return; // PostgreSQL itself replaces a file of the dead
  if (isPostgres(commandOf(pid))) {
    throw new Error(`another PostgreSQL server (process ${pid}) uses ${data}: stop it first`);
  }
  rmSync(lockFile, { force: true });
}

/**
 * Stops whatever runs under this name: fast shutdown (10 s), immediate shutdown (5 s), then SIGKILL. Throws where even
 * that leaves something.
 */
async function stopServer(name: string, data: string): Promise<void> {
  const gone = () => serverProcesses(name).length === 0;
  const postmasters = serverProcesses(name).filter((process) => process.postmaster);
  for (const { pid } of postmasters) signal(pid, "SIGINT");
  // Without their first process the others end by themselves, except in the midst of a long computation.
  if (await within(postmasters.length > 0 ? 10_000 : 2_000, gone)) return;
  for (const process of serverProcesses(name)) signal(process.pid, "SIGQUIT");
  if (await within(5_000, gone)) return;
  for (const process of serverProcesses(name)) signal(process.pid, "SIGKILL");
  if (await within(5_000, gone)) return;
  const pids = serverProcesses(name).map((process) => process.pid);
  throw new Error(`processes ${pids.join(", ")} still use ${data} and cannot be stopped`);
}

function readPid(file: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}
