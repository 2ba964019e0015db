import type { Column, ColumnType, RowBatch, Value } from "../connector.js";
import type { Meter } from "./content.js";
import { dataError, type Where } from "./errors.js";
import type { Layout } from "./infer.js";
import { BATCH_ROWS, BATCH_SIZE } from "./limits.js";

/** The text of one file, and what it is called. */
export interface TextFile {
  readonly where: Where;
  readonly text: AsyncIterable<string>;
}

export interface ReadOptions {
  /** Types that the configuration sets, by column. */
  readonly declared: ReadonlyMap<string, ColumnType>;
  /** Records that types are inferred from. */
  readonly sample: number;
}

/** One row, and what it takes of a batch. */
export interface Row {
  readonly values: readonly Value[];
  readonly size: number;
}

/** How files of one format are read. A format that is not text (Parquet) will take the open file instead. */
export interface FormatReader {
  /** The file's columns, from its first records. */
  infer(file: TextFile, options: ReadOptions): Promise<Layout>;
  /** The values of `columns`, piece by piece of the file. */
  rows(
    file: TextFile,
    layout: Layout,
    columns: readonly Column[],
    options: ReadOptions,
  ): AsyncIterable<readonly Row[]>;
}

/** Gathers rows into batches of bounded size. */
export async function* inBatches(
  pieces: AsyncIterable<readonly Row[]>,
  meter: Meter,
): AsyncGenerator<RowBatch> {
  let rows: (readonly Value[])[] = [];
  let size = 0;
  let reported = 0;
  for await (const piece of pieces) {
    for (const row of piece) {
      rows.push(row.values);
      size += row.size;
      if (rows.length < BATCH_ROWS && size < BATCH_SIZE) continue;
      yield { rows, bytes: meter.bytes - reported };
      reported = meter.bytes;
      rows = [];
      size = 0;
    }
  }
  if (rows.length > 0) yield { rows, bytes: meter.bytes - reported };
}

/** The position in the file of each wanted column. */
export function positionsOf(where: Where, layout: Layout, columns: readonly Column[]): readonly number[] {
  const positions = new Map(layout.columns.map((column, position) => [column.name, position]));
  return columns.map((column) => {
    const position = positions.get(column.name);
    if (position !== undefined) return position;
    throw dataError(where, `the file has no column "${column.name}" any more`, { column: column.name });
  });
}

/** Where the type of a column comes from, for messages: records inferred from, or null for the configuration. */
export function sampledFor(column: Column, layout: Layout, options: ReadOptions): number | null {
  return options.declared.has(column.name) ? null : layout.sampled;
}
