import { from as copyFrom } from "pg-copy-streams";
import type { Stream, StreamData, StreamResult } from "../connector.js";
import type { Session } from "./client.js";
import { countRows, encodeRows, type TargetColumn } from "./copy-text.js";
import { MAX_NAME_BYTES, qualified, quote, quoteAll } from "./names.js";
import { fallbackType, nativeType } from "./types.js";

const BUFFER_BYTES = 256 * 1024;
const PROGRESS_MS = 250;

/** A stream that was written aside. */
export interface Staged {
  readonly stream: Stream;
  /** Where it goes at the commit. */
  readonly table: string;
  /** Where it is. */
  readonly staging: string;
  readonly result: StreamResult;
}

/**
 * Makes the staging table and fills it, within the caller's transaction: rows copied into a table of the same
 * transaction can skip the write-ahead log (wal_level minimal) and are frozen at once, which spares a vacuum.
 */
export async function fillStaging(
  session: Session,
  schema: string,
  names: { readonly table: string; readonly staging: string },
  stream: Stream,
  data: StreamData,
  onProgress: (soFar: StreamResult) => void,
): Promise<Staged> {
  const columns = await targetColumns(session, stream);
  const staging = qualified(schema, names.staging);
  const definitions = columns.map((column) => definition(column, names.table));
  await session.run(`CREATE TABLE ${staging} (${definitions.join(", ")})`);
  const list = columns.length === 0 ? "" : ` (${quoteAll(stream.columns.map(({ name }) => name))})`;
  const progress = new Progress(onProgress);
  const rows = await copyIn(
    session,
    `COPY ${staging}${list} FROM STDIN WITH (FREEZE)`,
    copyBytes(data, columns, progress),
  );
  await addPrimaryKey(session, staging, names.staging, stream);
  const result = { rows, bytes: progress.bytes };
  onProgress(result);
  return { stream, ...names, result };
}

async function targetColumns(session: Session, stream: Stream): Promise<TargetColumn[]> {
  const known = await knownTypes(session, stream);
  return stream.columns.map((column) => {
    const native = nativeType(column);
    const type = native !== undefined && known.has(native) ? native : fallbackType(column.type);
    return { column, type };
  });
}

/** What format_type prints, and nothing that could be more than a type: it becomes part of a statement. */
const TYPE_SYNTAX = /^(?!.*--)[\w .,"()[\]-]+$/;

/**
 * Types that mean the same here: PostgreSQL's own and those of extensions. Not a user's enums and domains, which
 * may share a name and no more, nor types whose values name objects of the other database (regclass, aclitem)
 * or have no input (pg_node_tree).
 */
const KNOWN_TYPES = `
  SELECT wanted.type
  FROM unnest($1::text[]) AS wanted (type)
  JOIN pg_type t ON t.oid = to_regtype(wanted.type)
  LEFT JOIN pg_type element ON element.typarray = t.oid
  CROSS JOIN LATERAL (SELECT coalesce(element.oid, t.oid) AS oid) AS plain
  JOIN pg_type p ON p.oid = plain.oid
  WHERE p.typtype IN ('b', 'r', 'm')
    AND (p.typnamespace = 'pg_catalog'::regnamespace OR EXISTS (
      SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = p.oid AND d.deptype = 'e'))
    AND NOT (p.typnamespace = 'pg_catalog'::regnamespace AND p.typname ~ '^(reg|pg_(node|ndis|dep|mcv|brin)|aclitem)')`;

async function knownTypes(session: Session, stream: Stream): Promise<ReadonlySet<string>> {
  const wanted = new Set(stream.columns.map(nativeType).filter((type) => type !== undefined));
  const safe = [...wanted].filter((type) => TYPE_SYNTAX.test(type));
  const rows = await session.rows<{ type: string }>(KNOWN_TYPES, [safe]);
  return new Set(rows.map(({ type }) => type));
}

/** Constraints get the name that they would have had in the target, where that is short enough. */
function definition({ column, type }: TargetColumn, table: string): string {
  if (column.nullable) return `${quote(column.name)} ${type}`;
  const name = `${table}_${column.name}_not_null`;
  const constraint = Buffer.byteLength(name) <= MAX_NAME_BYTES ? ` CONSTRAINT ${quote(name)}` : "";
  return `${quote(column.name)} ${type}${constraint} NOT NULL`;
}

/** After the rows: building an index once is faster than keeping it up to date. */
async function addPrimaryKey(session: Session, staging: string, name: string, stream: Stream): Promise<void> {
  const present = new Set(stream.columns.map((column) => column.name));
  if (stream.primaryKey.length === 0 || !stream.primaryKey.every((key) => present.has(key))) return;
  const key = quoteAll(stream.primaryKey);
  await session.run(`ALTER TABLE ${staging} ADD CONSTRAINT ${quote(`${name}_pk`)} PRIMARY KEY (${key})`);
}

/** Totals of a stream, reported some times a second. */
class Progress {
  rows = 0;
  bytes = 0;
  readonly #report: (soFar: StreamResult) => void;
  #last = performance.now();

  constructor(report: (soFar: StreamResult) => void) {
    this.#report = report;
  }

  add(rows: number, bytes: number): void {
    this.rows += rows;
    this.bytes += bytes;
    const now = performance.now();
    if (now - this.#last < PROGRESS_MS) return;
    this.#last = now;
    this.#report({ rows: this.rows, bytes: this.bytes });
  }
}

function copyBytes(
  data: StreamData,
  columns: readonly TargetColumn[],
  progress: Progress,
): AsyncGenerator<Buffer> {
  return data.encoding === "pgcopy"
    ? counted(data.bytes, progress)
    : encodeRows(data.batches, columns, ({ rows, bytes }) => progress.add(rows.length, bytes));
}

async function* counted(chunks: AsyncIterable<Buffer>, progress: Progress): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    progress.add(countRows(chunk), chunk.length);
    yield chunk;
  }
}

/** Feeds a COPY FROM STDIN; gives the number of rows that PostgreSQL counted. */
async function copyIn(session: Session, sql: string, chunks: AsyncGenerator<Buffer>): Promise<number> {
  const sink = session.client.query(copyFrom(sql, { highWaterMark: BUFFER_BYTES }));
  let failure: unknown;
  let giveUp: (error: unknown) => void = () => {};
  sink.on("error", (error) => {
    failure ??= error;
    giveUp(error);
    // Else what is still buffered would be written to a query that is over.
    sink.destroy();
  });
  /** One promise that is pending at a time, given up when the COPY fails meanwhile. */
  const unlessFailed = <T>(start: (resolve: (value: T) => void, reject: (error: unknown) => void) => void) =>
    new Promise<T>((resolve, reject) => {
      giveUp = reject;
      if (failure === undefined) start(resolve, reject);
      else reject(failure);
    });
  try {
    for (;;) {
      const next = await unlessFailed<IteratorResult<Buffer, unknown>>((resolve, reject) => {
        chunks.next().then(resolve, reject);
      });
      if (next.done === true) break;
      if (!sink.write(next.value)) await unlessFailed<void>((resolve) => sink.once("drain", resolve));
    }
    await unlessFailed<void>((resolve) => sink.end(resolve));
    return sink.rowCount;
  } catch (error) {
    // The rows broke off, not the COPY: only without its connection will the server give up waiting for more.
    if (failure === undefined) session.destroy();
    // Not awaited, because it waits for the chunk that is being read.
    chunks.return(undefined).catch(() => {});
    throw error;
  }
}
