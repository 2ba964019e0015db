import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { newId } from "./ids.js";

/** What is known of a blob's content. */
export interface BlobContent {
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

export interface PutOptions {
  /** A longer one is refused, and nothing of it stays. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

export interface ListedBlob {
  readonly key: string;
  readonly bytes: number;
  readonly modifiedAt: Date;
}

/**
 * Large things by key (`folder/name`): uploads, snapshots, exports. A blob is there whole or not at all, and what
 * `put` has answered survives the machine. Shaped so that an object store can stand behind it.
 */
export interface Blobs {
  /** Stores a stream, in the place of what was under the key. Throws BlobError. */
  put(key: string, content: Readable, options: PutOptions): Promise<BlobContent>;
  /** Throws BlobError where there is none. The stream must be read to its end, or destroyed. */
  get(key: string): Promise<{ readonly bytes: number; readonly stream: Readable }>;
  /** Nothing where there is none. */
  delete(key: string): Promise<void>;
  /** Everything in a folder. */
  list(folder: string): AsyncIterable<ListedBlob>;
  /** Removes what writers that have died have left; says how much. Older than any writing takes: nobody's. */
  clearUnfinished(olderThanMs: number): Promise<number>;
}

/** Why a blob could not be had or stored, in words that a client may read. */
export class BlobError extends Error {
  readonly reason: "too-large" | "missing" | "full";

  constructor(reason: BlobError["reason"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "BlobError";
    this.reason = reason;
  }
}

/** Where blobs are until they are whole. */
const UNFINISHED = ".unfinished";
const KEY = /^[a-z][a-z-]*\/[0-9a-z][0-9a-z.-]*$/;

/** Blobs as files: on this machine, or on a volume that all processes share. */
export class FolderBlobs implements Blobs {
  readonly #root: string;

  /** @param root absolute; made when it is first written to */
  constructor(root: string) {
    this.#root = root;
  }

  async put(key: string, content: Readable, { maxBytes, signal }: PutOptions): Promise<BlobContent> {
    const path = this.#pathOf(key);
    const unfinished = join(this.#root, UNFINISHED, newId());
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await mkdir(dirname(unfinished), { recursive: true, mode: 0o700 });
    try {
      const meter = new Meter(maxBytes);
      const file = createWriteStream(unfinished, { flags: "wx", mode: 0o600, flush: true });
      await pipeline(content, (chunks) => meter.pass(chunks), file, signal === undefined ? {} : { signal });
      await rename(unfinished, path);
      await sync(dirname(path));
      return meter.read();
    } catch (error) {
      await rm(unfinished, { force: true });
      throw isFull(error)
        ? new BlobError("full", "the disk that archives are stored on is full", error)
        : error;
    }
  }

  async get(key: string): Promise<{ bytes: number; stream: Readable }> {
    try {
      const handle = await open(this.#pathOf(key), "r");
      const { size } = await handle.stat();
      return { bytes: size, stream: handle.createReadStream() };
    } catch (error) {
      throw isMissing(error) ? new BlobError("missing", "there is no such archive any more", error) : error;
    }
  }

  async delete(key: string): Promise<void> {
    await rm(this.#pathOf(key), { force: true });
  }

  async *list(folder: string): AsyncGenerator<ListedBlob> {
    for (const name of await namesIn(join(this.#root, folder))) {
      const key = `${folder}/${name}`;
      const found = await stat(this.#pathOf(key)).catch(ignoreMissing);
      if (found?.isFile() === true) yield { key, bytes: found.size, modifiedAt: found.mtime };
    }
  }

  async clearUnfinished(olderThanMs: number): Promise<number> {
    const folder = join(this.#root, UNFINISHED);
    let removed = 0;
    for (const name of await namesIn(folder)) {
      const found = await stat(join(folder, name)).catch(ignoreMissing);
      if (found === undefined || Date.now() - found.mtimeMs < olderThanMs) continue;
      await rm(join(folder, name), { force: true });
      removed += 1;
    }
    return removed;
  }

  #pathOf(key: string): string {
    if (!KEY.test(key)) throw new Error(`"${key}" is no key of a blob`);
    return join(this.#root, key);
  }
}

/** Counts and hashes what passes, up to a limit. */
class Meter {
  readonly #maxBytes: number;
  readonly #hash = createHash("sha256");
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  async *pass(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      this.#bytes += chunk.length;
      if (this.#bytes > this.#maxBytes) {
        throw new BlobError("too-large", `the archive is larger than ${this.#maxBytes} bytes`);
      }
      this.#hash.update(chunk);
      yield chunk;
    }
  }

  read(): BlobContent {
    return { bytes: this.#bytes, sha256: this.#hash.digest("hex") };
  }
}

/** A file that was renamed is only then surely under its new name when its folder is on the disk. */
async function sync(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(ignoreMissing)) ?? [];
}

function ignoreMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOSPC" || code === "EDQUOT";
}
