import { configError } from "./errors.js";

/** A folder outside the files root that sources may read, addressed as `<name>/...`. */
export interface ReadOnlyRoot {
  readonly name: string;
  readonly path: string;
}

export interface Roots {
  /** FILES_ROOT, absolute: readable and writable. */
  readonly root: string;
  readonly readOnlyRoots: readonly ReadOnlyRoot[];
}

/** Where a configured path points: a root of the operator's, and names below it that are still to be checked. */
export interface Place {
  /** Absolute path of the root. */
  readonly root: string;
  readonly names: readonly string[];
  readonly writable: boolean;
  /** How the root is addressed: empty for the files root, else the name of a read-only root. */
  readonly label: string;
  /** The path as configured, for messages. */
  readonly path: string;
}

/** What the connector keeps for itself in a destination's folder. */
export const PRIVATE_FOLDER = ".gatehouse";

const MAX_NAME_BYTES = 255;
const MAX_PATH_BYTES = 4_096;

/** Finds the root that a configured path belongs to. Touches no file: names are checked, links later. */
export function placeOf(path: string, roots: Roots): Place {
  const names = namesOf(path);
  const readOnly = roots.readOnlyRoots.find((candidate) => candidate.name === names[0]);
  return readOnly === undefined
    ? { root: roots.root, names, writable: true, label: "", path }
    : { root: readOnly.path, names: names.slice(1), writable: false, label: readOnly.name, path };
}

/** The names of a path relative to the root; `.` is the root itself. */
export function namesOf(path: string): readonly string[] {
  const fault = faultOf(path);
  if (fault !== null) throw configError(`"path" ${fault}: ${quoted(path)}`, { path: shortened(path) });
  if (path === "." || path === "./") return [];
  const names = (path.endsWith("/") ? path.slice(0, -1) : path).split("/");
  for (const name of names) {
    const wrong = faultOfName(name);
    if (wrong !== null) throw configError(`"path" ${wrong}: ${quoted(path)}`, { path: shortened(path) });
  }
  return names;
}

function faultOf(path: string): string | null {
  if (path === "") return "is empty; name a file or folder relative to the files root";
  if (path.includes("\0")) return "contains a NUL character";
  if (path.includes("\\")) return "contains a backslash; separate folders with /";
  if (path.startsWith("/")) return "must be relative to the files root, without / at the start";
  if (/^[A-Za-z]:/.test(path)) return "must be relative to the files root, without a drive";
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `is longer than ${MAX_PATH_BYTES} bytes`;
  return null;
}

function faultOfName(name: string): string | null {
  if (name === "..") return "must not leave the files root with ..";
  if (name === "" || name === ".") return "contains an empty or . component";
  if (name === PRIVATE_FOLDER) return `must not enter ${PRIVATE_FOLDER}, which belongs to the file connector`;
  if (/\p{Cc}/u.test(name)) return "contains a control character";
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `has a name longer than ${MAX_NAME_BYTES} bytes`;
  return null;
}

function quoted(path: string): string {
  return JSON.stringify(shortened(path));
}

function shortened(path: string): string {
  return path.length > 200 ? `${path.slice(0, 200)}...` : path;
}

/** True where a name is a pattern (`*` any characters, `?` one). */
export function isGlob(name: string): boolean {
  return name.includes("*") || name.includes("?");
}

/**
 * Matches a file name against a pattern of `*` and `?`. Two pointers instead of a regular expression: a pattern
 * of many stars would make a backtracking matcher run for ages.
 */
export function matchesGlob(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    if (pattern[p] === "*") {
      star = p;
      p += 1;
      resume = n;
    } else if (pattern[p] === "?" || pattern[p] === name[n]) {
      p += 1;
      n += 1;
    } else if (star >= 0) {
      p = star + 1;
      resume += 1;
      n = resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p += 1;
  return p === pattern.length;
}
