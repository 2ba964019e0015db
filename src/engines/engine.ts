import type { Readable } from "node:stream";
import type { Place, PlaceView } from "./substrate.js";

export type EngineName = "graphneo" | "postgres";

/** A version that this machine can run, server and tools. */
export interface EngineVersion {
  /** Such as `15.18` or `4.16.3`. */
  readonly number: string;
  readonly edition: string;
  readonly vendor: string;
}

/** What of a plan concerns the engine; memory and storage are the place's limits. */
export interface PlanLimits {
  /** Sessions of the customer at once. */
  readonly connections: number;
}

export interface Credentials {
  /** As `usernameFault` of the engine allows. */
  readonly username: string;
  /** 16 to 128 letters, digits, `-` and `_`. */
  readonly password: string;
  /** Of Gatehouse's own account in the server; same form. It never changes while the deployment lives. */
  readonly adminSecret: string;
}

/** A deployment to look at. */
export interface Observed {
  /** The deployment's id. */
  readonly id: string;
  /** `number` of the version it was made with. */
  readonly version: string;
  readonly plan: PlanLimits;
  readonly credentials: Credentials;
  readonly place: PlaceView;
}

/** A deployment to work on. */
export interface Instance extends Observed {
  readonly place: Place;
}

export interface EngineContext {
  /** Aborted when the operation is cancelled, timed out or taken over: stop soon, throw. */
  readonly signal: AbortSignal;
  /** A line for the operation's log; never a secret. */
  log(level: "debug" | "info" | "warn" | "error", message: string): void;
}

/** What a health check found. `starting` is loading its data; `failed` does not answer, and `detail` says how. */
export interface Health {
  readonly status: "healthy" | "starting" | "stopped" | "failed";
  readonly detail: string | null;
}

export interface Usage {
  /** What the data occupies on disk. */
  readonly storageBytes: number;
  /** Of all processes of the server; null where unknown or stopped. */
  readonly memoryBytes: number | null;
  /** Sessions of the customer; null where the server does not answer. */
  readonly connections: number | null;
}

/** What an instance past its storage limit may still do. */
export type StorageHold = "none" | "read_only" | "closed";

/**
 * A kind of database server. Every call is safe to repeat, also after its caller was killed anywhere in it, and leaves
 * the old state or the new one, never a mixture. Throws EngineError with a message for the client, FencedError where
 * a newer command was at the place, and the signal's reason when aborted.
 */
export interface Engine {
  readonly name: EngineName;
  readonly vendor: string;
  readonly edition: string;
  /** Found on this machine at start, newest first. */
  readonly versions: readonly EngineVersion[];
  /** Where `versions` is empty: the sentence that says what to install. */
  readonly missing: string | null;
  /** Kinds of extras that it can really provide. */
  readonly extras: readonly string[];
  /** Name of its archives: `rdb`, `dump`. */
  readonly archiveExtension: string;

  /** Why this cannot be a customer's user name; null where it can. */
  usernameFault(username: string): string | null;
  /** How a client reaches it. The password is part of it: mask before showing. */
  connectionUrl(host: string, port: number, credentials: Pick<Credentials, "username" | "password">): string;

  /** Makes an empty database in the place, unless there is one. The server does not run afterwards, unless it did. */
  provision(instance: Instance, context: EngineContext): Promise<void>;
  /**
   * Starts the server on the place's port with the instance's credentials and limits, and waits until the customer can
   * use it. One that runs already is adopted.
   */
  start(instance: Instance, context: EngineContext): Promise<void>;
  /** Saves and stops: afterwards all is on the disk and nothing runs. */
  stop(instance: Instance, context: EngineContext): Promise<void>;
  /** Asks the server itself, within two seconds, without logging in. Throws nothing but the signal's reason. */
  health(observed: Observed, signal: AbortSignal): Promise<Health>;

  /**
   * A consistent copy as of one moment, while the server serves; of a stopped one too (it then runs for that, unreachable
   * for clients). The stream ends with an error unless the copy is whole. Read it to the end or destroy it.
   */
  snapshot(instance: Instance, context: EngineContext): Promise<Readable>;
  /** The same, in the form that the engine's own tools read elsewhere. */
  export(instance: Instance, context: EngineContext): Promise<Readable>;
  /**
   * Replaces the data by a snapshot or export of this engine. It is checked and loaded aside, with the customer's
   * rights and the place's limits, while the old data is served; then the server is stopped and the new data put in
   * place at once. On success the server is stopped: call `start`. A bad archive is `bad_archive` or `too_large`, and
   * everything is as it was.
   */
  restore(instance: Instance, archive: Readable, context: EngineContext): Promise<void>;
  /** The same for archives of unknown origin, in each form that the engine takes. */
  import(instance: Instance, archive: Readable, context: EngineContext): Promise<void>;

  /** Makes the instance's password the only one that opens it, and ends sessions of the old one. Running or stopped. */
  changeCredentials(instance: Instance, context: EngineContext): Promise<void>;
  /** Makes the instance's limits those of the server. Running or stopped; what needs a restart to take effect is told. */
  resize(instance: Instance, context: EngineContext): Promise<{ readonly needsRestart: boolean }>;
  /** What a running instance past its storage limit may still do; `start` keeps it. */
  holdStorage(instance: Instance, hold: StorageHold, context: EngineContext): Promise<void>;
  /** Stops the server at once and removes everything of it. */
  destroy(instance: Instance, context: EngineContext): Promise<void>;
  inspect(observed: Observed, signal: AbortSignal): Promise<Usage>;
}

export type EngineErrorCode =
  /** The archive is truncated, of another kind, or holds what the customer may not load. */
  | "bad_archive"
  /** The archive, or what comes out of it, is past the plan's limits. */
  | "too_large"
  /** The disk of the region is full. */
  | "disk_full"
  /** The version is not on this machine (any more). */
  | "not_installed"
  /** Something else listens on the port. */
  | "port_taken"
  /** The server did not start, or does not answer. */
  | "unavailable"
  /** Another process works on the place: try again. */
  | "busy"
  | "failed";

/** A failure with a message for the client; the cause is for the log. */
export class EngineError extends Error {
  readonly code: EngineErrorCode;

  constructor(code: EngineErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "EngineError";
    this.code = code;
  }
}
