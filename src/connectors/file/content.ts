import { isUtf8 } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { dataError, errnoOf, type Where } from "./errors.js";
import { CHUNK } from "./limits.js";

/** What tells one state of a file from another. Not ctime: a rename or another link changes no content. */
export interface Fingerprint {
  readonly device: bigint;
  readonly inode: bigint;
  readonly size: bigint;
  readonly modified: bigint;
}

/** An open file of a source. */
export interface OpenFile {
  readonly handle: FileHandle;
  readonly fingerprint: Fingerprint;
  readonly where: Where;
  readonly gzip: boolean;
}

/** Counts what is read from the disk. */
export interface Meter {
  bytes: number;
}

export async function fingerprintOf(handle: FileHandle): Promise<Fingerprint> {
  const stats = await handle.stat({ bigint: true });
  return { device: stats.dev, inode: stats.ino, size: stats.size, modified: stats.mtimeNs };
}

export function sameFile(a: Fingerprint, b: Fingerprint): boolean {
  return a.device === b.device && a.inode === b.inode && a.size === b.size && a.modified === b.modified;
}

export function changedError(where: Where): Error {
  return dataError(
    where,
    "the file was changed while it was being read, so the result would be a mixture of two states; " +
      "run again when nobody writes to it, or replace the file by rename",
  );
}

/** The text of a file, unpacked and checked to be UTF-8, without a byte order mark. */
export function readText(file: OpenFile, meter: Meter, signal: AbortSignal): AsyncIterable<string> {
  const bytes = readBytes(file, meter, signal);
  return decode(file.gzip ? gunzip(bytes, file.where) : bytes, file.where);
}

async function* readBytes(file: OpenFile, meter: Meter, signal: AbortSignal): AsyncGenerator<Buffer> {
  let position = 0;
  for (;;) {
    signal.throwIfAborted();
    const { bytesRead, buffer } = await file.handle.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, position);
    // A file that grows faster than it is read would never end.
    if (bytesRead === 0 || position + bytesRead > file.fingerprint.size) break;
    position += bytesRead;
    meter.bytes += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
  if (!sameFile(await fingerprintOf(file.handle), file.fingerprint)) throw changedError(file.where);
}

async function* gunzip(bytes: AsyncIterable<Buffer>, where: Where): AsyncGenerator<Buffer> {
  const unpacked = createGunzip({ chunkSize: CHUNK });
  const done = pipeline(Readable.from(bytes, { objectMode: true, highWaterMark: 1 }), unpacked);
  // The iteration below throws the same error; this one only must not count as unhandled.
  done.catch(() => {});
  try {
    for await (const chunk of unpacked) yield chunk as Buffer;
    await done;
  } catch (error) {
    if (!errnoOf(error)?.startsWith("Z_")) throw error;
    throw dataError(where, `the gzip data is damaged or cut off: ${String((error as Error).message)}`);
  }
}

/** Decodes chunk by chunk; a character may lie across two chunks. */
async function* decode(bytes: AsyncIterable<Buffer>, where: Where): AsyncGenerator<string> {
  let carry: Buffer = Buffer.alloc(0);
  let line = 1;
  let start = true;
  for await (const chunk of bytes) {
    let data = carry.length === 0 ? chunk : Buffer.concat([carry, chunk]);
    if (start && data.length >= 3) {
      start = false;
      data = withoutMark(data);
    }
    const end = start ? 0 : completeLength(data);
    const body = data.subarray(0, end);
    if (!isUtf8(body)) throw encodingError(where, body, line);
    line += countLines(body);
    carry = data.subarray(end);
    if (end > 0) yield body.toString("utf8");
  }
  if (!isUtf8(carry)) throw encodingError(where, carry, line);
  if (carry.length > 0) yield carry.toString("utf8");
}

function withoutMark(data: Buffer): Buffer {
  return data[0] === 0xef && data[1] === 0xbb && data[2] === 0xbf ? data.subarray(3) : data;
}

/** The length without an unfinished character at the end. */
function completeLength(data: Buffer): number {
  for (let back = 1; back <= 3 && back <= data.length; back += 1) {
    const byte = data[data.length - back] ?? 0;
    if (byte < 0x80) return data.length;
    if (byte >= 0xc0) {
      const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return needed > back ? data.length - back : data.length;
    }
  }
  return data.length;
}

function countLines(data: Buffer): number {
  let lines = 0;
  for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, at + 1)) lines += 1;
  return lines;
}

function encodingError(where: Where, data: Buffer, firstLine: number): Error {
  const line = firstLine + linesBeforeFault(data);
  const wide = (data[0] === 0xff && data[1] === 0xfe) || (data[0] === 0xfe && data[1] === 0xff);
  return dataError(
    where,
    `line ${line}: the text is not UTF-8${wide ? " (it looks like UTF-16)" : ""}; convert the file to UTF-8`,
    { line },
  );
}

function linesBeforeFault(data: Buffer): number {
  let lines = 0;
  let start = 0;
  for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, start)) {
    if (!isUtf8(data.subarray(start, at))) return lines;
    lines += 1;
    start = at + 1;
  }
  return lines;
}
