import { lstat } from "node:fs/promises";
import { ConnectorError } from "../connector.js";
import { configError, storeError } from "./errors.js";
import { type Folder, linkError, openFolder } from "./folder.js";
import { MAX_FILES } from "./limits.js";
import { isGlob, matchesGlob, type Place } from "./paths.js";
import type { Format } from "./settings.js";

/** A file that a source's path names. It is opened later, and looked at again then. */
export interface ListedFile {
  readonly stream: string;
  readonly format: Format;
  /** The folder, from the root. */
  readonly names: readonly string[];
  readonly name: string;
  /** Relative to the files root, for messages. */
  readonly path: string;
}

const EXTENSIONS: Readonly<Record<string, Format>> = {
  ".csv": "csv",
  ".tsv": "csv",
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
};

/** Every file of a path: one, those of a folder, or those that match a pattern; by name, without hidden ones. */
export async function listFiles(place: Place, format: Format | undefined): Promise<readonly ListedFile[]> {
  const last = place.names.at(-1);
  const parents = place.names.slice(0, -1);
  if (parents.some(isGlob)) throw configError(`"path": only the file name may be a pattern: "${place.path}"`);
  if (last === undefined) return inFolder(place, [], null, format);
  if (isGlob(last)) return inFolder(place, parents, last, format);
  const parent = await openFolder(place, parents);
  try {
    const stats = await lstat(parent.at(last));
    if (stats.isSymbolicLink()) throw linkError(parent.labelOf(last));
    if (stats.isDirectory()) return await inFolder(place, place.names, null, format);
    return [listed(parent, parents, last, format ?? formatOf(last) ?? unknownFormat(place.path))];
  } catch (error) {
    throw storeError(error, place.path);
  } finally {
    await parent.close();
  }
}

async function inFolder(
  place: Place,
  names: readonly string[],
  pattern: string | null,
  format: Format | undefined,
): Promise<readonly ListedFile[]> {
  const folder = await openFolder(place, names);
  try {
    const files: ListedFile[] = [];
    for await (const entry of folder.entries()) {
      if (entry.isDirectory() || entry.name.startsWith(".")) continue;
      const own = formatOf(entry.name);
      // A pattern says which files are meant, whatever they are called; a folder means those of the format.
      if (pattern === null ? own === undefined || (format ?? own) !== own : !matchesGlob(pattern, entry.name))
        continue;
      if (files.length === MAX_FILES) throw tooMany(place.path);
      files.push(
        listed(folder, names, entry.name, format ?? own ?? unknownFormat(folder.labelOf(entry.name))),
      );
    }
    return distinct(
      files.sort((a, b) => (a.name < b.name ? -1 : 1)),
      place.path,
    );
  } finally {
    await folder.close();
  }
}

function listed(folder: Folder, names: readonly string[], name: string, format: Format): ListedFile {
  return { stream: streamNameOf(name), format, names, name, path: folder.labelOf(name) };
}

function distinct(files: readonly ListedFile[], path: string): readonly ListedFile[] {
  if (files.length === 0) {
    throw new ConnectorError(
      "not_found",
      `"${path}" names no file: nothing there is called .csv, .tsv, .jsonl or .ndjson (with .gz or without) or matches the pattern`,
      { details: { path } },
    );
  }
  const seen = new Map<string, ListedFile>();
  for (const file of files) {
    const other = seen.get(file.stream);
    if (other !== undefined) {
      throw configError(
        `"${other.path}" and "${file.path}" would both be the stream "${file.stream}"; narrow "path" or set "format"`,
        { path, stream: file.stream },
      );
    }
    seen.set(file.stream, file);
  }
  return files;
}

export function isGzip(name: string): boolean {
  return name.toLowerCase().endsWith(".gz");
}

/** `orders.csv.gz` -> `.csv`. */
export function extensionOf(name: string): string {
  const unpacked = isGzip(name) ? name.slice(0, -3) : name;
  const dot = unpacked.lastIndexOf(".");
  return dot <= 0 ? "" : unpacked.slice(dot).toLowerCase();
}

function formatOf(name: string): Format | undefined {
  return EXTENSIONS[extensionOf(name)];
}

/** The file name without its extensions: `orders.csv.gz` -> `orders`, `orders.2024.csv` -> `orders.2024`. */
function streamNameOf(name: string): string {
  const unpacked = isGzip(name) ? name.slice(0, -3) : name;
  const extension = extensionOf(name);
  return unpacked.slice(0, unpacked.length - extension.length) || unpacked || name;
}

function unknownFormat(path: string): never {
  throw configError(`the name "${path}" does not tell the format; set "format" to csv or jsonl`, { path });
}

function tooMany(path: string): Error {
  return configError(`"${path}" names more than ${MAX_FILES} files; narrow it with a pattern`, { path });
}
