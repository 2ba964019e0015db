import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MACHINE_FOLDER } from "../../platform/folders.js";

/** User ids that a root worker gives to its places, one each; the group ids are the same. */
export interface UserRange {
  readonly first: number;
  readonly last: number;
}

/** Who has which id: one folder for the machine, since its ids are the machine's. */
export const USERS_FOLDER = join(MACHINE_FOLDER, "users");

/**
 * Ids that nothing else gives out (https://systemd.io/UIDS-GIDS/): above the containers' ones where this user
 * namespace has them, else the unused ones below 2^16.
 */
export function freeUserRange(): UserRange {
  const high = { first: 1_900_000_000, last: 1_900_999_999 };
  const map = readText("/proc/self/uid_map");
  const mapped = map.split("\n").some((line) => {
    const [from, , count] = line.trim().split(/\s+/).map(Number);
    return from !== undefined && count !== undefined && from <= high.first && high.last < from + count;
  });
  return mapped ? high : { first: 60_578, last: 61_183 };
}

/** An unprivileged account with a name, for tools that insist on one. */
export function namedAccount(): { uid: number; gid: number } {
  for (const name of ["postgres", "nobody"]) {
    const uid = idOf("-u", name);
    const gid = idOf("-g", name);
    if (uid !== undefined && gid !== undefined && uid !== 0) return { uid, gid };
  }
  return { uid: 65_534, gid: 65_534 };
}

function idOf(flag: string, name: string): number | undefined {
  const asked = spawnSync("id", [flag, name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return asked.status === 0 ? Number(asked.stdout) : undefined;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
