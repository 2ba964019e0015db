import { spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  lchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { runAs } from "./account.js";
import type { Binaries } from "./binaries.js";
import { writePrivate } from "./credentials.js";
import { giveTo, type Place } from "./place.js";

/** Whether a complete data folder is there. */
export function dataExists(place: Place): boolean {
  return existsSync(join(place.data, "PG_VERSION"));
}

/**
 * Makes the data folder, complete or not at all: initdb works in a folder beside it that is renamed when it is
 * done, and what an interrupted start left there is thrown away. Throws with the output of initdb.
 */
export async function createData(place: Place, binaries: Binaries, adminPassword: string): Promise<void> {
  removeEmpty(place.data);
  const unfinished = `${place.data}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  makeOwn(place, unfinished);
  const passwordFile = join(place.folder, "initdb-password");
  try {
    writePrivate(passwordFile, `${adminPassword}\n`);
    giveTo(place.account, passwordFile);
    await initdb(place, binaries, unfinished, passwordFile);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw error;
  } finally {
    rmSync(passwordFile, { force: true });
  }
  renameSync(unfinished, place.data);
  syncFolder(place.folder);
}

/** Checks that these programs can serve the data, and that the data belongs to whom the server runs as. */
export function adoptData(place: Place, binaries: Binaries): void {
  const made = readFileSync(join(place.data, "PG_VERSION"), "utf8").trim();
  const major = binaries.version.split(".")[0];
  if (made !== major) {
    throw new Error(
      `the database in ${place.data} was made by PostgreSQL ${made} and this Gatehouse brings ${major}: ` +
        "move it with pg_dump and pg_restore, or start the Gatehouse version that made it.",
    );
  }
  const { account } = place;
  // As a copy made by root has it; the account was chosen after the owner in every other case.
  if (account !== undefined && statSync(place.data).uid !== account.uid) {
    giveAll(account.uid, account.gid, place.data);
  }
}

/**
 * Puts aside the data of a home folder that was deleted: whoever deletes it wants to begin anew, and the key for the
 * secrets in that data went with it. Returns where the data is now.
 */
export function retireData(place: Place): string {
  const aside = join(place.folder, `retired-${Date.now()}`);
  mkdirSync(aside, { mode: 0o700 });
  renameSync(place.data, join(aside, "data"));
  rmSync(join(place.folder, "credentials.json"), { force: true });
  return aside;
}

/** Makes the folder of the server's log, which the server writes itself. */
export function prepareLog(place: Place): void {
  if (!existsSync(place.log)) makeOwn(place, place.log);
  else if (place.account !== undefined && statSync(place.log).uid !== place.account.uid) {
    giveAll(place.account.uid, place.account.gid, place.log);
  }
}

function makeOwn(place: Place, path: string): void {
  mkdirSync(path);
  chmodSync(path, 0o700);
  giveTo(place.account, path);
}

function initdb(place: Place, binaries: Binaries, data: string, passwordFile: string): Promise<void> {
  const args = [
    `--pgdata=${data}`,
    "--username=postgres",
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    // Sorts by code point and knows the case of all of Unicode, alike on every machine: no locale of the
    // system is involved, so an upgrade of its C library cannot corrupt an index.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(binaries.initdb, args, {
      ...runAs(place.account),
      cwd: "/",
      // None of PGDATA, PGPORT and the like, and no secrets of ours.
      env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`initdb failed (${signal ?? `exit code ${code}`}):\n${output.trim()}`));
    });
  });
}

function removeEmpty(folder: string): void {
  if (!existsSync(folder)) return;
  try {
    rmdirSync(folder);
  } catch (cause) {
    throw new Error(`${folder} holds something that is no PostgreSQL database: move it away`, { cause });
  }
}

function giveAll(uid: number, gid: number, folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) giveAll(uid, gid, path);
    else lchownSync(path, uid, gid);
  }
  lchownSync(folder, uid, gid);
}

/** A rename survives a power cut only when its folder was synced. */
function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
