import { constants, type Dirent } from "node:fs";
import { type FileHandle, lstat, mkdir, open, opendir, realpath, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { configError, errnoOf, storeError } from "./errors.js";
import type { Place } from "./paths.js";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/**
 * Linux gives an open folder a path of its own, `/proc/self/fd/<n>`, below which names are looked up in that
 * very folder, wherever it has been moved and whatever now stands at its old path: openat(2) for Node.
 */
const HAS_PROC = process.platform === "linux";

/**
 * An open folder below a root. Paths are walked one name at a time from the root, each folder opened with
 * O_NOFOLLOW inside the folder before it, so no link is ever followed and none that is swapped in between two
 * steps can lead outside: later steps start from the open folder, not from its path. (A check of realpath
 * followed by an open of the same path would leave that gap.) Where there is no /proc, every opened path is
 * compared with its realpath and inode after the open instead.
 *
 * Links inside the root that stay inside are refused too: the rule is simple, and nothing depends on timing.
 * Failures are the plain errno errors, except for links and special files.
 */
export class Folder {
  readonly #handle: FileHandle;
  readonly #path: string;
  /** As the user knows it, for messages. */
  readonly label: string;

  private constructor(handle: FileHandle, path: string, label: string) {
    this.#handle = handle;
    this.#path = path;
    this.label = label;
  }

  /** Opens a root of the operator's, who may well have made it a link. */
  static async openRoot(path: string, label: string): Promise<Folder> {
    const real = await realpath(path);
    return new Folder(await open(real, O_RDONLY | O_DIRECTORY), real, label);
  }

  /** A path for a system call on a name in this folder. */
  at(name: string): string {
    if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
      throw new Error(`not a name: ${JSON.stringify(name)}`);
    }
    return HAS_PROC ? `${this.#self()}/${name}` : join(this.#path, name);
  }

  labelOf(name: string): string {
    return this.label === "" ? name : `${this.label}/${name}`;
  }

  /** Opens a folder in this one. */
  async folder(name: string): Promise<Folder> {
    const handle = await this.#open(name, O_RDONLY | O_DIRECTORY);
    return new Folder(handle, join(this.#path, name), this.labelOf(name));
  }

  /** The same, made where it is missing. */
  async ensureFolder(name: string): Promise<Folder> {
    try {
      await mkdir(this.at(name));
      await this.sync();
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
    return this.folder(name);
  }

  /** Opens a regular file for reading; never blocks on a FIFO, never opens a device that stands there. */
  async openFile(name: string): Promise<FileHandle> {
    this.#refuseSpecial(await lstat(this.at(name)), name);
    const handle = await this.#open(name, O_RDONLY | O_NONBLOCK);
    try {
      this.#refuseSpecial(await handle.stat(), name);
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Makes a new file for writing; EEXIST where the name is taken, by a link too. */
  async createFile(name: string): Promise<FileHandle> {
    return await open(this.at(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o666);
  }

  /** Everything in the folder. */
  async *entries(): AsyncGenerator<Dirent> {
    yield* await opendir(HAS_PROC ? this.#self() : this.#path);
  }

  /** Removes a file or a whole folder of this one; nothing to do where it is gone. Links are removed, not followed. */
  async remove(name: string): Promise<void> {
    try {
      await unlink(this.at(name));
    } catch (error) {
      const code = errnoOf(error);
      // What unlink(2) says of a folder: EISDIR on Linux, EPERM by POSIX.
      if (code === "EISDIR" || code === "EPERM") await this.#removeFolder(name);
      else if (code !== "ENOENT") throw error;
    }
  }

  /** Makes what was created, renamed or removed in this folder survive a crash of the machine. */
  async sync(): Promise<void> {
    await this.#handle.sync();
  }

  async inode(): Promise<bigint> {
    return (await this.#handle.stat({ bigint: true })).ino;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #removeFolder(name: string): Promise<void> {
    try {
      const folder = await this.folder(name);
      try {
        await folder.clear();
      } finally {
        await folder.close();
      }
      await rmdir(this.at(name));
    } catch (error) {
      // A writer that was overtaken may still have made a file after the listing: go again.
      if (errnoOf(error) === "ENOTEMPTY") await this.#removeFolder(name);
      else if (errnoOf(error) !== "ENOENT") throw error;
    }
  }

  /** Removes everything in the folder. */
  async clear(): Promise<void> {
    const names: string[] = [];
    for await (const entry of this.entries()) names.push(entry.name);
    for (const name of names) await this.remove(name);
  }

  #self(): string {
    return `/proc/self/fd/${this.#handle.fd}`;
  }

  async #open(name: string, flags: number): Promise<FileHandle> {
    let handle: FileHandle;
    try {
      handle = await open(this.at(name), flags | O_NOFOLLOW);
    } catch (error) {
      // A link is ELOOP, and ENOTDIR where a folder was asked.
      if (errnoOf(error) === "ELOOP" || errnoOf(error) === "ENOTDIR") await this.#refuseLink(name);
      throw error;
    }
    try {
      if (!HAS_PROC) await this.#verify(handle, name);
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #verify(handle: FileHandle, name: string): Promise<void> {
    const path = join(this.#path, name);
    const [real, named, opened] = await Promise.all([realpath(path), lstat(path), handle.stat()]);
    if (real !== path || named.ino !== opened.ino || named.dev !== opened.dev)
      throw linkError(this.labelOf(name));
  }

  async #refuseLink(name: string): Promise<void> {
    if ((await lstat(this.at(name))).isSymbolicLink()) throw linkError(this.labelOf(name));
  }

  #refuseSpecial(stats: { isFile(): boolean; isSymbolicLink(): boolean }, name: string): void {
    const label = this.labelOf(name);
    if (stats.isSymbolicLink()) throw linkError(label);
    if (!stats.isFile()) throw configError(`"${label}" is not a regular file`, { path: label });
  }
}

/** What every link below a root is answered with. */
export function linkError(label: string): Error {
  return configError(
    `"${label}" is a symbolic link; links are not followed, so that no path leaves the files root`,
    { path: label },
  );
}

/** Walks from a root to the folder that `names` tell, every link refused. */
export async function openFolder(place: Place, names: readonly string[]): Promise<Folder> {
  try {
    const root = await Folder.openRoot(place.root, place.label);
    return await walk(root, names, (folder, name) => folder.folder(name));
  } catch (error) {
    throw storeError(error, place.path);
  }
}

/** The same, with every missing folder made. */
export async function ensureFolder(place: Place): Promise<Folder> {
  try {
    await mkdir(place.root, { recursive: true });
    const root = await Folder.openRoot(place.root, place.label);
    return await walk(root, place.names, (folder, name) => folder.ensureFolder(name));
  } catch (error) {
    throw storeError(error, place.path);
  }
}

async function walk(
  start: Folder,
  names: readonly string[],
  step: (folder: Folder, name: string) => Promise<Folder>,
): Promise<Folder> {
  let folder = start;
  for (const name of names) {
    try {
      const next = await step(folder, name);
      await folder.close();
      folder = next;
    } catch (error) {
      await folder.close();
      throw error;
    }
  }
  return folder;
}
