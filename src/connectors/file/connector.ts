import { isAbsolute } from "node:path";
import type { Connector } from "../connector.js";
import { fileDestination } from "./destination.js";
import type { ReadOnlyRoot, Roots } from "./paths.js";
import { fileSource } from "./source.js";
import type { OnPoint } from "./takeover.js";

/** Versions of the file connector, newest first. */
export const fileConnectorVersions: readonly string[] = ["1.0.0"];

export interface FileConnectorOptions {
  /** FILES_ROOT, absolute: readable and writable. */
  readonly root: string;
  /** Folders elsewhere that sources may read, addressed as `<name>/...`; they hide a folder of that name in the root. */
  readonly readOnlyRoots: readonly ReadOnlyRoot[];
  /** For tests: called at each moment at which a death must do no harm. */
  readonly onPoint?: OnPoint;
}

/** CSV and JSONL files below the files root, as source and as destination. */
export function createFileConnector(options: FileConnectorOptions): Connector {
  const roots: Roots = { root: options.root, readOnlyRoots: options.readOnlyRoots };
  for (const path of [roots.root, ...roots.readOnlyRoots.map((root) => root.path)]) {
    if (!isAbsolute(path)) throw new Error(`not an absolute path: ${path}`);
  }
  return {
    type: "file",
    versions: fileConnectorVersions,
    title: "Files",
    source: fileSource(roots),
    destination: fileDestination(roots, options.onPoint ?? (() => {})),
  };
}
