import type { Column, Value } from "../connector.js";
import { type CsvDialect, type CsvRecord, CsvSyntaxError, CsvTokenizer } from "./csv-tokenizer.js";
import { dataError, type Where } from "./errors.js";
import { ColumnGuess, kindOfText, type Layout } from "./infer.js";
import {
  type FormatReader,
  positionsOf,
  type ReadOptions,
  type Row,
  sampledFor,
  type TextFile,
} from "./reader.js";
import { type FitText, fitText, misfitError } from "./values.js";

export interface CsvOptions extends CsvDialect {
  /** The first record names the columns; else they are column_1, column_2 ... */
  readonly header: boolean;
}

/** Reads CSV. */
export function csvReader(csv: CsvOptions): FormatReader {
  return {
    infer: (file, options) => infer(csv, file, options),
    rows: (file, layout, columns, options) => rows(csv, file, layout, columns, options),
  };
}

async function infer(csv: CsvOptions, file: TextFile, options: ReadOptions): Promise<Layout> {
  let guesses: ColumnGuess[] | null = null;
  let sampled = 0;
  for await (const records of recordsOf(csv, file)) {
    for (const record of records) {
      if (guesses === null) {
        guesses = namesOf(record, csv.header, file.where).map((name) => new ColumnGuess(name));
        if (csv.header) continue;
      }
      if (isNoRow(record, guesses.length, file.where)) continue;
      if (sampled === options.sample) return layoutOf(guesses, options, sampled, false);
      sampled += 1;
      addRecord(guesses, record);
    }
  }
  if (guesses === null) throw dataError(file.where, "the file is empty: not even a header is there");
  return layoutOf(guesses, options, sampled, true);
}

function addRecord(guesses: readonly ColumnGuess[], record: CsvRecord): void {
  for (const [position, guess] of guesses.entries()) {
    const field = record.fields[position] ?? null;
    if (field === null || field === "") guess.addNull();
    if (field !== null) guess.add(kindOfText(field));
  }
}

function layoutOf(
  guesses: readonly ColumnGuess[],
  options: ReadOptions,
  sampled: number,
  complete: boolean,
): Layout {
  return {
    columns: guesses.map((guess) => guess.column(options.declared.get(guess.name), complete)),
    sampled,
  };
}

/** One wanted column: where it stands in a record, and how its fields become values. */
interface Target {
  readonly column: Column;
  readonly position: number;
  readonly fit: FitText;
  readonly sampled: number | null;
}

async function* rows(
  csv: CsvOptions,
  file: TextFile,
  layout: Layout,
  columns: readonly Column[],
  options: ReadOptions,
): AsyncGenerator<readonly Row[]> {
  const positions = positionsOf(file.where, layout, columns);
  const targets = columns.map((column, i): Target => {
    const fit = fitText(column.type, options.declared.has(column.name));
    return { column, position: positions[i] ?? 0, fit, sampled: sampledFor(column, layout, options) };
  });
  let headerDue = csv.header;
  for await (const records of recordsOf(csv, file)) {
    const out: Row[] = [];
    for (const record of records) {
      if (headerDue) headerDue = false;
      else if (!isNoRow(record, layout.columns.length, file.where)) {
        out.push({ values: valuesOf(file.where, record, targets), size: record.size });
      }
    }
    yield out;
  }
}

function valuesOf(where: Where, record: CsvRecord, targets: readonly Target[]): readonly Value[] {
  const values: Value[] = [];
  for (const target of targets) {
    const text = record.fields[target.position] ?? null;
    const value = text === null ? null : target.fit(text);
    if (value === undefined) throw misfitOf(where, record, target, text ?? "");
    values.push(value);
  }
  return values;
}

function misfitOf(where: Where, record: CsvRecord, target: Target, text: string): Error {
  const { column, position, sampled } = target;
  return misfitError(where, {
    line: lineOf(record, position),
    column,
    text,
    kinds: kindOfText(text),
    sampled,
  });
}

/** Line on which a field starts: the quoted fields before it may hold lines of their own. */
function lineOf(record: CsvRecord, position: number): number {
  let line = record.line;
  for (const field of record.fields.slice(0, position)) line += (field?.split("\n").length ?? 1) - 1;
  return line;
}

/** Empty lines between records are no rows, unless the file has one column only: there they are an empty value. */
function isNoRow(record: CsvRecord, columns: number, where: Where): boolean {
  if (record.blank && columns > 1) return true;
  const fields = record.fields.length;
  if (fields === columns) return false;
  throw dataError(
    where,
    `line ${record.line}: the row has ${fields} fields and not ${columns}; ` +
      `look for a missing or unquoted delimiter, or a wrong "delimiter" or "quote" in the source's configuration`,
    { line: record.line, fields, expected: columns },
  );
}

function namesOf(record: CsvRecord, header: boolean, where: Where): readonly string[] {
  if (!header) return record.fields.map((_, position) => `column_${position + 1}`);
  const seen = new Set<string>();
  return record.fields.map((field, position) => {
    // A column without a name, as spreadsheets and data frames write for their row numbers.
    const name = field === null || field === "" ? `column_${position + 1}` : field;
    if (seen.has(name)) {
      throw dataError(where, `line ${record.line}: the header names the column "${name}" twice`, {
        line: record.line,
        column: name,
      });
    }
    seen.add(name);
    return name;
  });
}

/** Records piece by piece of the file, without the empty lines before the first. */
async function* recordsOf(csv: CsvOptions, file: TextFile): AsyncGenerator<readonly CsvRecord[]> {
  const tokenizer = new CsvTokenizer(csv);
  let started = false;
  const withoutLead = (records: readonly CsvRecord[]): readonly CsvRecord[] => {
    if (started) return records;
    const first = records.findIndex((record) => !record.blank);
    started = first >= 0;
    return started ? records.slice(first) : [];
  };
  try {
    for await (const text of file.text) yield withoutLead(tokenizer.push(text));
    yield withoutLead(tokenizer.end());
  } catch (error) {
    if (!(error instanceof CsvSyntaxError)) throw error;
    throw dataError(file.where, `line ${error.line}: the record ${error.message}`, { line: error.line });
  }
}
