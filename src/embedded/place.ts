import { chownSync, lstatSync, mkdtempSync, readlinkSync, rmSync, statSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { machineFolder, makeFolder } from "../platform/folders.js";
import { short } from "../platform/processes.js";
import { type Account, accountCan, accountForRoot, isRoot } from "./account.js";

/** Where one embedded server keeps what, and as whom it runs. */
export interface Place {
  /** `<home>/postgres`: what people look at. */
  home: string;
  /** The folder that really holds data, log and credentials: `home`, or one under /var/lib/gatehouse. */
  folder: string;
  data: string;
  log: string;
  /** The account of the server; undefined: the present user. */
  account: Account | undefined;
  /** That the data is outside `home` and nothing in `home` says so yet. */
  unlinked: boolean;
  /** Folder for what the account must reach where `home` is closed to it; makes it when asked. */
  outside(): string;
}

/**
 * Finds, or decides on the first start, where the server of this home folder lives, and makes the folders.
 *
 * An ordinary user has everything in `<home>/postgres`. Root has too, as long as the account that the server
 * changes to can get there; a home inside /root usually is closed to it, and nobody's folders are opened up for
 * this: the data then goes to /var/lib/gatehouse/<hash of home>, and links in `<home>/postgres` tell.
 */
export function preparePlace(home: string): Place {
  const root = isRoot();
  const inside = join(home, "postgres");
  makeFolder(home, root ? 0o711 : 0o700);
  makeFolder(inside, root ? 0o711 : 0o700);
  const outside = () => {
    const folder = join(machineFolder(), short(home));
    makeFolder(folder, 0o711);
    link(folder, join(inside, "outside"));
    return folder;
  };
  const at = (folder: string, account: Account | undefined): Place => ({
    home: inside,
    folder,
    data: join(folder, "data"),
    log: join(folder, "log"),
    account,
    unlinked: false,
    outside,
  });

  const data = join(inside, "data");
  const there = lstatSync(data, { throwIfNoEntry: false });
  if (!root) {
    const owner = statSync(data, { throwIfNoEntry: false })?.uid ?? there?.uid;
    if (owner === undefined || owner === process.getuid?.()) return at(inside, undefined);
    throw new Error(
      `the database in ${data} was made by another user (${owner}): start Gatehouse as that user or as root, ` +
        "or with another GATEHOUSE_HOME.",
    );
  }

  const account = accountForRoot(data);
  if (there?.isSymbolicLink() === true) {
    const folder = dirname(readlinkSync(data));
    makeFolder(folder, 0o711);
    return at(folder, account);
  }
  if (there !== undefined) {
    if (accountCan(account, "x", inside)) return at(inside, account);
    throw new Error(
      `the database in ${data} cannot be reached by ${account.name}, as which PostgreSQL runs under root: ` +
        "let others enter the folders above it (chmod o+x), or start Gatehouse as an ordinary user.",
    );
  }
  if (canKeep(inside, account)) return at(inside, account);
  const place = { ...at(outside(), account), unlinked: true };
  if (canKeep(place.folder, account)) return place;
  throw new Error(
    `${account.name}, as which PostgreSQL runs under root, can write neither in ${inside} nor in ${place.folder}: ` +
      "start Gatehouse as an ordinary user, or set DATABASE_URL.",
  );
}

/** Leaves links in `<home>/postgres` that lead to a place outside: the next start goes by them. */
export function linkPlace(place: Place): void {
  link(place.log, join(place.home, "log"));
  link(place.data, join(place.home, "data"));
}

/** Gives a file or folder to the account of the server. */
export function giveTo(account: Account | undefined, path: string): void {
  if (account !== undefined) chownSync(path, account.uid, account.gid);
}

/** Tries what will be done: a folder made by root, given to the account, written by it. */
function canKeep(folder: string, account: Account): boolean {
  let probe: string | undefined;
  try {
    probe = mkdtempSync(join(folder, "probe-"));
    giveTo(account, probe);
    return accountCan(account, "w", probe);
  } catch {
    return false;
  } finally {
    if (probe !== undefined) rmSync(probe, { recursive: true, force: true });
  }
}

/** Leaves a note for people; what is there and no link stays. */
function link(target: string, path: string): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there !== undefined && !there.isSymbolicLink()) return;
  rmSync(path, { force: true });
  symlinkSync(target, path);
}
