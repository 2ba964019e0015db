import type { Readable, Writable } from "node:stream";

/**
 * Orders the commands on one deployment: `command` counts its accepted commands, `attempt` the claims of the
 * operation. The larger pair wins; a place refuses whoever comes with a smaller one than it has seen.
 */
export interface Fence {
  readonly command: number;
  readonly attempt: number;
}

/** What a place may use; enforced by the substrate where it can, else watched by the supervisor. */
export interface PlaceLimits {
  /** Of all processes of the server together, bytes. */
  readonly memoryBytes: number;
  /** Of the volume, bytes. */
  readonly storageBytes: number;
}

/**
 * What one process of a server may have at most, and all of them together before its region's supervisor has it started
 * again: far beyond what the engine's own limits leave it, so that it stops runaways alone. A fork counts twice.
 */
export function memoryFuse({ memoryBytes }: Pick<PlaceLimits, "memoryBytes">): number {
  return 2 * memoryBytes + 512 * 1024 * 1024;
}

/** One deployment as a substrate sees it. */
export interface PlaceSpec {
  /** The deployment's id: a UUID, so that it can name folders and containers. */
  readonly id: string;
  /** Where clients reach the server. May differ from one start to the next (a switch of connection URLs). */
  readonly port: number;
  readonly limits: PlaceLimits;
}

/** Where places are: a machine, a container platform. One per region. */
export interface Substrate {
  /** Such as `process`. */
  readonly kind: string;
  /** What keeps it from working here, as a sentence that says what to do; null where it works. */
  readonly missing: string | null;
  /**
   * The place for effects, made ready (folders, system user). Throws FencedError where a larger fence was here.
   * Every effect checks the fence again at the place itself, so a caller that slept changes nothing.
   */
  open(spec: PlaceSpec, fence: Fence, signal: AbortSignal): Promise<Place>;
  /** The place for looking at: changes nothing and may be used by anybody, also where nothing is there yet. */
  look(spec: PlaceSpec): PlaceView;
  /** Ids of all places with something left: a folder, a process. Those of no living deployment are orphans. */
  list(signal: AbortSignal): Promise<readonly string[]>;
  /** Ports of the region's machine on which something listens now, whoever that may be. */
  listening(): Promise<ReadonlySet<number>>;
}

export type PlaceStatus =
  | { readonly state: "stopped" }
  | {
      /** `ending`: the server itself is gone and processes of it are left, or it is being stopped. */
      readonly state: "running" | "ending";
      readonly pid: number;
      /** Tells this life of the server from every other one. */
      readonly life: string;
      readonly startedAt: Date;
    };

/** Whether a server's processes take more memory together than one of them may have. */
export async function isTooLarge(place: Pick<PlaceView, "memory" | "limits">): Promise<boolean> {
  return ((await place.memory()) ?? 0) > memoryFuse(place.limits);
}

/** What can be seen of a place, without a fence. */
export interface PlaceView {
  readonly id: string;
  readonly port: number;
  /** The address at which Gatehouse reaches the server. */
  readonly host: string;
  /** The addresses to which a server in the place binds. */
  readonly listen: readonly string[];
  readonly limits: PlaceLimits;
  /** A folder, short enough for names of Unix sockets and closed to everybody else, that Gatehouse and the server share. */
  readonly socketFolder: string;
  /** Cheap: no process is started, and a few small files are read at most. */
  status(): Promise<PlaceStatus>;
  /**
   * Of all processes of the server together, bytes; null where none runs, or that cannot be known. No process is
   * started. Also keeps the log within its bound.
   */
  memory(): Promise<number | null>;
  /** The end of the server's log, at most `bytes` of it, whole lines. */
  logs(bytes: number): Promise<string>;
  /** What the volume occupies, bytes: of it all, or of what is under `path` (0 where there is nothing). */
  size(signal: AbortSignal, path?: string): Promise<number>;
}

/** The whole place, for whoever holds the fence. Every call is safe to repeat. */
export interface Place extends PlaceView {
  readonly fence: Fence;
  readonly volume: Volume;
  /** A path at which the programs of the place can read and run this file of the machine: its own, or that of a copy. */
  reach(file: string, signal: AbortSignal): Promise<string>;
  /**
   * Starts the server, unless it runs: then it is left as it is, whatever `server` says. Resolves when the process
   * is there, which says nothing of whether it answers yet. It outlives this process.
   */
  start(server: ServerSpec, signal: AbortSignal): Promise<PlaceStatus>;
  /**
   * Sends `stopSignal` and waits; after `graceMs` everything of the server is killed. Resolves when none of its
   * processes is left.
   */
  stop(options: StopOptions, signal: AbortSignal): Promise<void>;
  /**
   * Runs a tool with the rights and limits of the place until it ends, is aborted or `timeoutMs` have passed (then it
   * is killed, and so it is when this process dies). Throws ToolError unless it ends with exit code 0.
   */
  run(tool: ToolSpec, signal: AbortSignal): Promise<ToolResult>;
  /**
   * Lets a tool fill a new folder, and moves what it made to `path` of the volume: complete or not at all. `tool` is
   * told where the folder is. For tools that do not run as a user without a name (initdb).
   */
  make(path: string, tool: (folder: string) => ToolSpec, signal: AbortSignal): Promise<void>;
  /** Stops the server without grace and removes everything: data, logs, system user. */
  remove(signal: AbortSignal): Promise<void>;
}

/**
 * The files of a place. Paths are relative, with `/`, of letters, digits and `._-`. All is done with the rights of the
 * place's user, so that no link in there leads anywhere that the server could not go itself.
 */
export interface Volume {
  /** The absolute path as the programs of the place see it. */
  path(name: string): string;
  /** Complete or not at all; readable by the place alone; on the disk when it resolves. Returns the size. */
  write(path: string, content: string | Readable, options: WriteOptions): Promise<number>;
  /**
   * Small texts, by their paths: each complete or not at all, and none where they were not all sent. For what is written
   * anew at each start: it is not waited for that it is on the disk.
   */
  writeTexts(texts: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void>;
  /** Ends with an error where there is no such file. */
  read(path: string, signal: AbortSignal): Readable;
  /** Makes the folders and those above them. */
  makeFolders(paths: readonly string[], signal: AbortSignal): Promise<void>;
  /**
   * Makes the folders and then the link, on the disk when it resolves; changes nothing where the link is there. Returns the
   * names that were in the volume before.
   */
  begin(beginning: Beginning, signal: AbortSignal): Promise<readonly string[]>;
  /** Atomically; replaces a file at `to`. No error where `from` is gone and `to` is there (a repeated call). */
  move(from: string, to: string, signal: AbortSignal): Promise<void>;
  /** Makes `link` a symbolic link to its sibling `target`, in place of where it led before: atomically. */
  link(link: string, target: string, signal: AbortSignal): Promise<void>;
  /** Where a link leads; null where there is none. */
  linked(link: string, signal: AbortSignal): Promise<string | null>;
  /** Names in a folder (`.` is the volume itself); none where there is no such folder. */
  list(path: string, signal: AbortSignal): Promise<readonly string[]>;
  /** With everything in it; no error where there is nothing. */
  remove(path: string, signal: AbortSignal): Promise<void>;
}

/** What a volume begins with. */
export interface Beginning {
  readonly folders: readonly string[];
  /** A symbolic link to its sibling `target`, a folder that is made too. */
  readonly link: string;
  readonly target: string;
}

export interface WriteOptions {
  /** Past this many bytes: EngineError `too_large`, and nothing is kept. */
  readonly limitBytes: number;
  readonly signal: AbortSignal;
}

export interface ServerSpec {
  /** Absolute path of the executable. */
  readonly program: string;
  /** Never a secret: everybody on the machine can read them. */
  readonly args: readonly string[];
  /** The whole environment but PATH, HOME, LANG and TMPDIR: nothing of Gatehouse's own is in it. Never a secret either. */
  readonly env: Readonly<Record<string, string>>;
  readonly openFiles: number;
  /**
   * Small texts by their paths in the volume, which are written just before it starts: its configuration. Where it runs
   * they are left as they are; where one cannot be written, nothing is started.
   */
  readonly texts?: Readonly<Record<string, string>>;
  /** Memory that it may reserve and never use, bytes, besides what the place's limit allows; default none. */
  readonly reservedBytes?: number;
}

export interface StopOptions {
  readonly stopSignal: "SIGTERM" | "SIGINT" | "SIGQUIT";
  readonly graceMs: number;
}

export interface ToolSpec {
  readonly program: string;
  readonly args: readonly string[];
  /** As for servers, but it may hold a secret: only the place's user and root can read it. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly stdin?: Readable;
  /** Where its output goes; else it is collected, at most 64 KiB from the end. */
  readonly stdout?: Writable;
}

export interface ToolResult {
  readonly stdout: string;
  /** The last 64 KiB. */
  readonly stderr: string;
}

/** A tool that did not end well. */
export class ToolError extends Error {
  /** Null where it was killed. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;

  constructor(message: string, exitCode: number | null, result: ToolResult) {
    super(message);
    this.name = "ToolError";
    this.exitCode = exitCode;
    this.stdout = result.stdout;
    this.stderr = result.stderr;
  }
}

/** A newer command or attempt was at the place: stop, and change nothing more. */
export class FencedError extends Error {
  constructor(message = "a newer command has taken over this deployment") {
    super(message);
    this.name = "FencedError";
  }
}
