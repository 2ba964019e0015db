import { chmodSync, mkdirSync, statSync } from "node:fs";

/**
 * Where root keeps what other accounts must reach while GATEHOUSE_HOME is closed to them: data of the embedded
 * server and of databases, and the list of the user ids given out.
 */
export const MACHINE_FOLDER = "/var/lib/gatehouse";

/** The machine's folder of Gatehouse, made where it is missing. It is ours, and passable, whoever made it first. */
export function machineFolder(): string {
  makeFolder(MACHINE_FOLDER, 0o755);
  const { mode } = statSync(MACHINE_FOLDER);
  if ((mode & 0o011) !== 0o011) chmodSync(MACHINE_FOLDER, (mode & 0o777) | 0o011);
  return MACHINE_FOLDER;
}

/** Makes a folder with just this mode, whatever the umask: others may have to pass. One that exists is left alone. */
export function makeFolder(path: string, mode: number): void {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) return;
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
}
