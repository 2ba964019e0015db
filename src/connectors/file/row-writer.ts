import type { Column, Value } from "../connector.js";

/** How rows of one stream become the text of a file. A format that is not text (Parquet) needs more than this. */
export interface RowWriter {
  /** What stands before the first row. */
  readonly head: string;
  /** A row with its line end. */
  row(values: readonly Value[]): string;
}

/** Chooses how a stream is written. */
export type RowWriterFactory = (columns: readonly Column[]) => RowWriter;

/** Text of a value that is neither null nor JSON, the same in every text format. */
export function plainText(value: Exclude<Value, null>): string {
  if (typeof value === "string") return value;
  if (Buffer.isBuffer(value)) return value.toString("base64");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
