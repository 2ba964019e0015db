import type { FileHandle } from "node:fs/promises";
import { ConnectorError, type StreamResult } from "../connector.js";
import { errnoOf } from "./errors.js";
import type { Folder } from "./folder.js";

/** A file that a run wrote. */
export interface CommittedFile extends StreamResult {
  readonly file: string;
  readonly stream: string;
}

/** What a run of a job committed: once this exists under its final name, the run has happened. */
export interface CommitRecord {
  readonly version: 1;
  readonly run: number;
  readonly attempt: number;
  readonly files: readonly CommittedFile[];
  /** Every file that this job ever wrote here and may replace. */
  readonly owned: readonly string[];
}

const RECORD = /^commit-r(\d{1,15})\.json$/;

/** The record's name in the job's folder. */
export function recordName(run: number): string {
  return `commit-r${run}.json`;
}

/** The run that a name in the job's folder is the record of. */
export function runOfRecord(name: string): number | undefined {
  const match = RECORD.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** Reads the record of a run; null where there is none. */
export async function readRecord(folder: Folder, run: number): Promise<CommitRecord | null> {
  let handle: FileHandle;
  try {
    handle = await folder.openFile(recordName(run));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw error;
  }
  try {
    return parse(await handle.readFile("utf8"), folder.labelOf(recordName(run)));
  } finally {
    await handle.close();
  }
}

function parse(text: string, label: string): CommitRecord {
  try {
    const record: unknown = JSON.parse(text);
    if (isRecord(record)) return record;
  } catch {
    // Said below: whatever it is, it is no record of ours.
  }
  throw new ConnectorError(
    "failed",
    `"${label}" is damaged: it tells what the last run wrote; restore or remove it`,
    {
      details: { path: label },
    },
  );
}

function isRecord(value: unknown): value is CommitRecord {
  if (typeof value !== "object" || value === null) return false;
  const { version, run, attempt, files, owned } = value as Partial<Record<keyof CommitRecord, unknown>>;
  return (
    version === 1 &&
    Number.isSafeInteger(run) &&
    Number.isSafeInteger(attempt) &&
    Array.isArray(files) &&
    files.every(isFile) &&
    Array.isArray(owned) &&
    owned.every((name) => typeof name === "string")
  );
}

function isFile(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { file, stream, rows, bytes } = value as Partial<Record<keyof CommittedFile, unknown>>;
  return (
    typeof file === "string" &&
    typeof stream === "string" &&
    Number.isInteger(rows) &&
    Number.isInteger(bytes)
  );
}
