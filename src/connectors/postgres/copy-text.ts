import { type Column, ConnectorError, type RowBatch, type Value } from "../connector.js";
import { decoderOf, isArrayType } from "./types.js";

/**
 * PostgreSQL's COPY text format: one row per line, fields between tabs, `\N` for null, backslash escapes.
 * https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
 */

const NEWLINE = 0x0a;
const CHUNK_CHARACTERS = 64 * 1024;

/** How many rows end in these bytes: newlines within values are escaped. */
export function countRows(bytes: Buffer): number {
  let rows = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) rows += 1;
  return rows;
}

/** Batches of decoded rows, one per chunk of bytes: memory is bounded by bytes, not by rows of unknown size. */
export async function* decodeRows(
  chunks: AsyncIterable<Buffer>,
  columns: readonly Column[],
): AsyncGenerator<RowBatch> {
  const decoders = columns.map(decoderOf);
  const decodeRow = (line: string): Value[] => {
    if (decoders.length === 0) return [];
    const fields = line.split("\t");
    return decoders.map((decode, index) => {
      const field = fields[index];
      return field === undefined || field === "\\N" ? null : decode(withoutEscapes(field));
    });
  };
  for await (const block of wholeRows(chunks)) {
    const lines = block.toString("utf8", 0, block.length - 1).split("\n");
    yield { rows: lines.map(decodeRow), bytes: block.length };
  }
}

/** The same bytes, cut after a newline. */
async function* wholeRows(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let pending: Buffer[] = [];
  for await (const chunk of chunks) {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    if (end === 0) {
      pending.push(chunk);
      continue;
    }
    const head = chunk.subarray(0, end);
    yield pending.length === 0 ? head : Buffer.concat([...pending, head]);
    pending = end === chunk.length ? [] : [chunk.subarray(end)];
  }
  if (pending.length > 0)
    throw new ConnectorError("failed", "the server ended the rows in the middle of one");
}

const UNESCAPED: Readonly<Record<string, string>> = {
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

function withoutEscapes(field: string): string {
  if (!field.includes("\\")) return field;
  return field.replace(/\\(.)/gs, (_, character: string) => UNESCAPED[character] ?? character);
}

const ESCAPED: Readonly<Record<string, string>> = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r" };

function withEscapes(text: string): string {
  return /[\\\t\n\r]/.test(text) ? text.replace(/[\\\t\n\r]/g, (each) => ESCAPED[each] ?? each) : text;
}

/** A column of the table that is copied into: its logical type and the type that it has there. */
export interface TargetColumn {
  readonly column: Column;
  readonly type: string;
}

/**
 * COPY text of decoded rows, in chunks of about 64 KiB. `onBatch` is told the size of every batch once all of
 * it was handed on.
 */
export async function* encodeRows(
  batches: AsyncIterable<RowBatch>,
  columns: readonly TargetColumn[],
  onBatch: (batch: RowBatch) => void,
): AsyncGenerator<Buffer> {
  const encoders = columns.map(encoderOf);
  let text = "";
  for await (const batch of batches) {
    for (const row of batch.rows) {
      text += encoders.map((encode, index) => encode(row[index] ?? null)).join("\t");
      text += "\n";
      if (text.length < CHUNK_CHARACTERS) continue;
      yield Buffer.from(text);
      text = "";
    }
    onBatch(batch);
  }
  if (text !== "") yield Buffer.from(text);
}

type Encoder = (value: Value) => string;

function encoderOf({ column, type }: TargetColumn): Encoder {
  const asText = isArrayType(type) ? arrayText : column.type === "json" ? jsonText : plainText;
  return (value) => (value === null ? "\\N" : withEscapes(asText(value)));
}

function jsonText(value: Value): string {
  return JSON.stringify(value);
}

function plainText(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "t" : "f";
  if (Buffer.isBuffer(value)) return `\\x${value.toString("hex")}`;
  if (typeof value === "object") return JSON.stringify(value);
  return Object.is(value, -0) ? "-0" : String(value);
}

/** An array literal; what is no array passes as it is, such as the text of an array that was never decoded. */
function arrayText(value: unknown): string {
  return Array.isArray(value) ? arrayLiteral(value) : plainText(value);
}

function arrayLiteral(values: readonly unknown[]): string {
  const elements = values.map((each) => {
    if (each === null || each === undefined) return "NULL";
    if (Array.isArray(each)) return arrayLiteral(each);
    return `"${plainText(each).replace(/["\\]/g, "\\$&")}"`;
  });
  return `{${elements.join(",")}}`;
}
