import { Readable } from "node:stream";
import { to as copyTo } from "pg-copy-streams";
import type {
  ConnectorConfig,
  ConnectorContext,
  Encoding,
  SourceConnector,
  SourceReader,
  Stream,
  StreamData,
} from "../connector.js";
import { assertSchemas, assertUnreplaced, readStream, readStreams } from "./catalog.js";
import { type Dialer, Session } from "./client.js";
import { SOURCE_SPEC, schemasOf, serverOf } from "./config.js";
import { decodeRows } from "./copy-text.js";
import { explain, type Place } from "./errors.js";
import { qualified, quote, quoteAll } from "./names.js";
import { selectExpression } from "./types.js";

const CHUNK_BYTES = 256 * 1024;

/** Reads tables and views of a PostgreSQL database. */
export function createSource(dialer: Dialer): SourceConnector {
  return {
    spec: SOURCE_SPEC,

    check: (config, context) =>
      withSession(dialer, config, context, async (session) => {
        const [server] = await session.rows<{ version: string }>(
          "SELECT current_setting('server_version') AS version",
        );
        await assertSchemas(session, schemasOf(config));
        context.log("info", `PostgreSQL ${server?.version ?? ""}`);
      }),

    discover: (config, context) =>
      withSession(dialer, config, context, (session) => readStreams(session, schemasOf(config))),

    open: (config, context) => openReader(dialer, config, context),
  };
}

/** A session for one short piece of work. */
async function withSession<T>(
  dialer: Dialer,
  config: ConnectorConfig,
  { signal }: ConnectorContext,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const server = serverOf(config);
  let session: Session | undefined;
  try {
    session = await Session.open(dialer, server, signal, 0);
    return await work(session);
  } catch (error) {
    throw explain(error, { server }, signal);
  } finally {
    await session?.close();
  }
}

/** One transaction for the whole run: all streams are read from one snapshot, whatever is written meanwhile. */
async function openReader(
  dialer: Dialer,
  config: ConnectorConfig,
  { signal }: ConnectorContext,
): Promise<SourceReader> {
  const place: Place = { server: serverOf(config) };
  let session: Session | undefined;
  try {
    session = await Session.open(dialer, place.server, signal, 0);
    await session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    // The first statement takes the snapshot, BEGIN does not.
    await assertSchemas(session, schemasOf(config));
    return new Reader(session, schemasOf(config), place, signal);
  } catch (error) {
    await session?.close();
    throw explain(error, place, signal);
  }
}

class Reader implements SourceReader {
  readonly encodings: readonly Encoding[] = ["pgcopy", "rows"];
  readonly #session: Session;
  readonly #schemas: readonly string[];
  readonly #place: Place;
  readonly #signal: AbortSignal;
  #reading = false;

  constructor(session: Session, schemas: readonly string[], place: Place, signal: AbortSignal) {
    this.#session = session;
    this.#schemas = schemas;
    this.#place = place;
    this.#signal = signal;
  }

  async describe(name: string, namespace: string | undefined): Promise<Stream> {
    try {
      return await readStream(this.#session, namespace === undefined ? this.#schemas : [namespace], name);
    } catch (error) {
      throw explain(error, { ...this.#place, stream: name }, this.#signal);
    }
  }

  async read(stream: Stream, encoding: Encoding): Promise<StreamData> {
    if (this.#reading) throw new Error(`stream "${stream.name}": another stream is still being read`);
    const table = tableOf(stream, this.#schemas);
    try {
      // Takes the lock that lasts until the end of the run, without which the check would prove nothing.
      await this.#session.run(`SELECT FROM ${table} LIMIT 0`);
      await assertUnreplaced(this.#session, stream.name);
    } catch (error) {
      throw explain(error, { ...this.#place, stream: stream.name }, this.#signal);
    }
    return encoding === "pgcopy" ? this.#readBytes(stream, table) : this.#readRows(stream, table);
  }

  #readBytes(stream: Stream, table: string): StreamData {
    const sql = `COPY (SELECT ${quoteAll(stream.columns.map(({ name }) => name))} FROM ${table}) TO STDOUT`;
    const bytes = Readable.from(this.#copy(stream, sql), { objectMode: false, highWaterMark: CHUNK_BYTES });
    return { encoding: "pgcopy", bytes };
  }

  #readRows(stream: Stream, table: string): StreamData {
    const fields = stream.columns.map((column) => selectExpression(column, quote(column.name)));
    const sql = `COPY (SELECT ${fields.join(", ")} FROM ${table}) TO STDOUT`;
    return { encoding: "rows", batches: decodeRows(this.#copy(stream, sql), stream.columns) };
  }

  /** The chunks of one COPY. Who stops early ends the session: there is no other way out of a COPY. */
  async *#copy(stream: Stream, sql: string): AsyncGenerator<Buffer> {
    this.#reading = true;
    const copy = this.#session.client.query(copyTo(sql, { highWaterMark: CHUNK_BYTES }));
    // The connection may break while nobody is reading; the reader is told at the next chunk.
    copy.on("error", () => {});
    let finished = false;
    try {
      for await (const chunk of copy) yield chunk as Buffer;
      finished = true;
    } catch (error) {
      throw explain(error, { ...this.#place, stream: stream.name }, this.#signal);
    } finally {
      this.#reading = false;
      if (!finished) this.#session.destroy();
    }
  }

  async close(): Promise<void> {
    await this.#session.close();
  }
}

function tableOf(stream: Stream, schemas: readonly string[]): string {
  return qualified(stream.namespace ?? schemas[0] ?? "public", stream.name);
}
