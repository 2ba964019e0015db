import type { Readable } from "node:stream";

/** Which end of a sync a connector serves. */
export type Role = "source" | "destination";

/** A JSON Schema (draft 7) of a configuration; secret fields carry `"secret": true` at the top level of properties. */
export interface ConfigSchema {
  readonly type: "object";
  readonly properties: Readonly<Record<string, ConfigProperty>>;
  readonly required?: readonly string[];
  readonly additionalProperties: false;
}

export interface ConfigProperty {
  readonly title?: string;
  readonly description?: string;
  readonly secret?: true;
  readonly [keyword: string]: unknown;
}

/** A configuration that its schema has accepted, secrets in clear. Never logged. */
export type ConnectorConfig = Readonly<Record<string, unknown>>;

/** What values of a column are, whatever the store calls it. */
export type ColumnType =
  | "string"
  | "integer"
  | "decimal"
  | "float"
  | "boolean"
  | "date"
  | "time"
  | "timestamp"
  | "timestamptz"
  | "json"
  | "binary";

export interface Column {
  readonly name: string;
  readonly type: ColumnType;
  readonly nullable: boolean;
  /** The store's own type, used where both ends are the same kind of store: {store:"postgres", type:"numeric(10,2)"}. */
  readonly native?: { readonly store: string; readonly type: string };
}

/** One table, file or query of a source. */
export interface Stream {
  /** Unique within the source, such as `customers`. */
  readonly name: string;
  /** Schema or folder, such as `public`; absent where the store has none. */
  readonly namespace?: string;
  readonly columns: readonly Column[];
  readonly primaryKey: readonly string[];
  /** Columns that only ever grow, fit for incremental reads. */
  readonly cursorFields: readonly string[];
  readonly syncModes: readonly ("full_refresh" | "incremental")[];
  /** How much there is, for the progress: what is cheap to know, right or nearly so. */
  readonly estimate?: { readonly rows?: number; readonly bytes?: number };
}

/**
 * One value of a row. Numbers that JavaScript cannot hold exactly (integers past 2^53, decimals) are strings;
 * date and time types are ISO 8601 strings; binary is a Buffer; json is the parsed value.
 */
export type Value =
  | string
  | number
  | boolean
  | null
  | Buffer
  | { readonly [key: string]: unknown }
  | readonly unknown[];

/** Some rows, values in the order of the stream's columns. */
export interface RowBatch {
  readonly rows: readonly (readonly Value[])[];
  /** Size as read, for the progress. */
  readonly bytes: number;
}

/**
 * How rows travel between two ends. `rows`: decoded batches, understood by all. `pgcopy`: the bytes of
 * PostgreSQL's COPY text format, in the order of the columns; every row ends with a newline.
 */
export type Encoding = "rows" | "pgcopy";

export type StreamData =
  | { readonly encoding: "rows"; readonly batches: AsyncIterable<RowBatch> }
  | { readonly encoding: "pgcopy"; readonly bytes: Readable };

/** What a connector may use and must respect. */
export interface ConnectorContext {
  /** Aborted when the operation is cancelled, timed out or taken over: stop soon, clean up, throw. */
  readonly signal: AbortSignal;
  /** A line for the step's log; never a secret. */
  log(level: "debug" | "info" | "warn" | "error", message: string): void;
}

export interface Connector {
  readonly type: string;
  /** Versions of the connector, newest first. */
  readonly versions: readonly string[];
  readonly title: string;
  readonly source?: SourceConnector;
  readonly destination?: DestinationConnector;
}

export interface SourceConnector {
  readonly spec: ConfigSchema;
  /** Really connects and reads something; throws a ConnectorError that says what is wrong and where. */
  check(config: ConnectorConfig, context: ConnectorContext): Promise<void>;
  /** Every stream that can be read. */
  discover(config: ConnectorConfig, context: ConnectorContext): Promise<readonly Stream[]>;
  /** Opens the source for one run: every stream is read from one consistent state where the store can do so. */
  open(config: ConnectorConfig, context: ConnectorContext): Promise<SourceReader>;
}

export interface SourceReader {
  /** The stream as it is now (columns may have changed since discovery); throws where it is gone. */
  describe(name: string, namespace: string | undefined): Promise<Stream>;
  /** Best first; `rows` is always among them. */
  readonly encodings: readonly Encoding[];
  /** The whole stream, lazily: memory stays bounded whatever its size. One stream at a time. */
  read(stream: Stream, encoding: Encoding): Promise<StreamData>;
  close(): Promise<void>;
}

/**
 * Which run writes, and which try of it. Both count upwards, so (run, attempt) orders every writer of a job:
 * a destination refuses a writer that is older than one it has seen.
 */
export interface Fence {
  /** The job: what it wrote before is replaced. */
  readonly jobId: string;
  /** Number of the run within the job. */
  readonly run: number;
  /** Number of the claim of the run's operation. */
  readonly attempt: number;
}

export interface DestinationConnector {
  readonly spec: ConfigSchema;
  /** Really connects and proves that it could write; leaves nothing behind. */
  check(config: ConnectorConfig, context: ConnectorContext): Promise<void>;
  /**
   * Takes the destination for (run, attempt): older attempts of the same job can change nothing from here on,
   * and what they left half-written is removed. Throws FencedError where a newer writer was here.
   */
  open(config: ConnectorConfig, fence: Fence, context: ConnectorContext): Promise<DestinationWriter>;
}

export interface StreamResult {
  readonly rows: number;
  readonly bytes: number;
}

export interface DestinationWriter {
  /** Best first; `rows` is always among them. */
  readonly encodings: readonly Encoding[];
  /** The results by stream name where this run was committed already (an earlier attempt died after its commit), else null. */
  readonly committed: ReadonlyMap<string, StreamResult> | null;
  /**
   * Writes a whole stream aside, with backpressure; nothing that readers see changes. `onProgress` is called
   * with the totals of this stream so far, at most some times a second.
   */
  write(stream: Stream, data: StreamData, onProgress: (soFar: StreamResult) => void): Promise<StreamResult>;
  /**
   * Swaps everything written into place, once per run: a second call, or a call by a writer that was overtaken,
   * changes nothing (the latter throws FencedError). Throws InDoubtError where it may have taken place all the same;
   * after any other failure it has not.
   */
  commit(): Promise<void>;
  /** Frees what is held; before a commit it also removes what was written aside. Never throws. */
  close(): Promise<void>;
}

/** A failure at a store, with a message for the user: what, where, and what would be right. */
export class ConnectorError extends Error {
  readonly code:
    | "unreachable"
    | "unauthorized"
    | "not_found"
    | "invalid_data"
    | "invalid_config"
    | "unsupported"
    | "failed";
  /** Where: stream, column, line, path ... */
  readonly details: Readonly<Record<string, string | number>>;

  constructor(
    code: ConnectorError["code"],
    message: string,
    options: { details?: Readonly<Record<string, string | number>>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ConnectorError";
    this.code = code;
    this.details = options.details ?? {};
  }
}

/**
 * Whether a commit took place cannot be told now, because the store went away in its midst: a later attempt of the
 * same run finds out when it opens the destination.
 */
export class InDoubtError extends Error {
  constructor(cause: unknown) {
    super(
      `it is not known whether the commit took place: ${cause instanceof Error ? cause.message : cause}`,
      {
        cause,
      },
    );
    this.name = "InDoubtError";
  }
}

/** A newer attempt or run has taken the destination: stop, and change nothing more. */
export class FencedError extends Error {
  constructor(message = "a newer writer has taken over") {
    super(message);
    this.name = "FencedError";
  }
}
