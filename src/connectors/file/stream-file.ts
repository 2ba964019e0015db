import type { FileHandle } from "node:fs/promises";
import type { RowBatch, StreamResult } from "../connector.js";
import { onStore } from "./errors.js";
import { CHUNK } from "./limits.js";
import type { RowWriter } from "./row-writer.js";

/** Milliseconds between two looks up from the work. */
const PAUSE = 250;

export interface StreamFileOptions {
  /** For messages. */
  readonly path: string;
  readonly signal: AbortSignal;
  /** Called some times a second with the totals so far. */
  readonly onPause: (soFar: StreamResult) => Promise<void>;
}

/**
 * Writes all rows to a file and makes them durable. The next batch is asked for when this one is written.
 * What the source throws passes as it is: only failures of this file are said of it.
 */
export async function writeStreamFile(
  handle: FileHandle,
  writer: RowWriter,
  batches: AsyncIterable<RowBatch>,
  options: StreamFileOptions,
): Promise<StreamResult> {
  let text = writer.head;
  let rows = 0;
  let bytes = 0;
  let paused = performance.now();
  const flush = async (): Promise<void> => {
    const data = Buffer.from(text, "utf8");
    text = "";
    bytes += data.length;
    await onStore(options.path, () => writeAll(handle, data));
  };
  for await (const batch of batches) {
    options.signal.throwIfAborted();
    for (const row of batch.rows) {
      text += writer.row(row);
      if (text.length >= CHUNK) await flush();
    }
    rows += batch.rows.length;
    if (performance.now() - paused < PAUSE) continue;
    paused = performance.now();
    await options.onPause({ rows, bytes });
  }
  options.signal.throwIfAborted();
  await flush();
  await onStore(options.path, () => handle.sync());
  return { rows, bytes };
}

async function writeAll(handle: FileHandle, data: Buffer): Promise<void> {
  let written = 0;
  while (written < data.length) written += (await handle.write(data, written)).bytesWritten;
}
