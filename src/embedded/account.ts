import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";

/** The system account that the server runs as when Gatehouse itself runs as root. */
export interface Account {
  uid: number;
  gid: number;
  name: string;
}

/** PostgreSQL refuses to run as root, so root needs another account and everybody else is one. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Options for `spawn` that make the child run as `account` (nothing where there is none to change to). */
export function runAs(account: Account | undefined): { uid?: number; gid?: number } {
  return account === undefined ? {} : { uid: account.uid, gid: account.gid };
}

const CANDIDATES = ["postgres", "gatehouse"];

/**
 * The account for the server of root: the one that already owns the data (so that `npm start` and
 * `sudo npm start` can take turns), else the system's `postgres`, else a system account `gatehouse`, which is
 * created. Throws an error that says what to do where none can be had.
 */
export function accountForRoot(dataFolder: string): Account {
  const owner = statSync(dataFolder, { throwIfNoEntry: false });
  if (owner !== undefined && owner.uid !== 0) {
    return { uid: owner.uid, gid: owner.gid, name: nameOf(owner.uid) };
  }
  const existing = CANDIDATES.map(find).find((account) => account !== undefined);
  return existing ?? create("gatehouse");
}

/** Whether `account` can reach `path` and has the permission (`r`, `w` or `x`) on it. Asked of the system itself,
 * because mode bits alone know nothing of ACLs, read-only mounts and root-squashing file servers. */
export function accountCan(account: Account, permission: "r" | "w" | "x", path: string): boolean {
  const asked = spawnSync("/bin/sh", ["-c", `test -${permission} "$1"`, "sh", path], {
    ...runAs(account),
    cwd: "/",
    stdio: "ignore",
  });
  return asked.status === 0;
}

function find(name: string): Account | undefined {
  const uid = ask("-u", name);
  const gid = ask("-g", name);
  return uid === undefined || gid === undefined || Number(uid) === 0
    ? undefined
    : { uid: Number(uid), gid: Number(gid), name };
}

function create(name: string): Account {
  const made = spawnSync(
    "useradd",
    [
      "--system",
      "--user-group",
      "--no-create-home",
      "--home-dir",
      "/nonexistent",
      "--shell",
      "/usr/sbin/nologin",
      name,
    ],
    { encoding: "utf8" },
  );
  const account = find(name);
  if (account !== undefined) return account;
  const reason = made.error?.message ?? made.stderr.trim();
  throw new Error(
    `PostgreSQL does not run as root, and no other account could be made for it (useradd: ${reason}). ` +
      "Run Gatehouse as an ordinary user, create a system user named postgres, or set DATABASE_URL.",
  );
}

function nameOf(uid: number): string {
  return ask("-un", String(uid)) ?? `user ${uid}`;
}

function ask(flag: string, name: string): string | undefined {
  const asked = spawnSync("id", [flag, name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return asked.status === 0 ? asked.stdout.trim() : undefined;
}
