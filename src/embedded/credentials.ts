import { randomBytes } from "node:crypto";
import {
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { isRoot } from "./account.js";

/** What has to stay the same between starts. */
export interface Credentials {
  /** Of the superuser `postgres`. */
  adminPassword: string;
  /** Of the role `gatehouse`. */
  password: string;
  /** The port of the last start, null before the first. */
  port: number | null;
}

/**
 * Reads the credentials kept in `folder`, or makes them where there are none. Throws where data exists without
 * its credentials: new ones would not open it.
 */
export function loadCredentials(folder: string, dataExists: boolean): Credentials {
  const file = credentialsFile(folder);
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT" || dataExists) {
      throw new Error(
        `cannot read ${file}, which holds the passwords of the database in ${folder}: restore it`,
        { cause },
      );
    }
  }
  const made = { adminPassword: secret(), password: secret(), port: null };
  saveCredentials(folder, made);
  return made;
}

/** Replaces the credentials kept in `folder`, atomically. */
export function saveCredentials(folder: string, credentials: Credentials): void {
  writePrivate(credentialsFile(folder), `${JSON.stringify(credentials)}\n`);
}

/** Writes a file that only the owner of its folder can read; whoever reads it sees the old or the new text, never half. */
export function writePrivate(path: string, text: string): void {
  const unfinished = `${path}.new`;
  rmSync(unfinished, { force: true });
  const fd = openSync(unfinished, "wx", 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  if (isRoot()) {
    // A `sudo npm start` in a user's folder must not lock the user out of later starts.
    const { uid, gid } = statSync(dirname(path));
    chownSync(unfinished, uid, gid);
  }
  renameSync(unfinished, path);
}

function credentialsFile(folder: string): string {
  return join(folder, "credentials.json");
}

/** 256 bits, in letters that need no escaping in URLs and SQL. */
function secret(): string {
  return randomBytes(32).toString("base64url");
}
