import type { Column, Value } from "../connector.js";
import { dataError, type Where } from "./errors.js";
import { ColumnGuess, kindOfJson, type Layout } from "./infer.js";
import { MAX_COLUMNS, MAX_RECORD } from "./limits.js";
import { exactNumbers } from "./numbers.js";
import {
  type FormatReader,
  positionsOf,
  type ReadOptions,
  type Row,
  sampledFor,
  type TextFile,
} from "./reader.js";
import { type FitJson, fitJson, misfitError } from "./values.js";

/** One line: an object, with the numbers that JavaScript cannot hold as they are written. */
interface JsonRecord {
  readonly line: number;
  readonly size: number;
  readonly values: Readonly<Record<string, unknown>>;
  readonly exact: ReadonlyMap<string, string> | null;
}

/** Reads JSON Lines: one object per line. */
export const jsonlReader: FormatReader = { infer, rows };

async function infer(file: TextFile, options: ReadOptions): Promise<Layout> {
  const guesses = new Map<string, ColumnGuess>();
  const filled = new Map<ColumnGuess, number>();
  let sampled = 0;
  let complete = true;
  sampling: for await (const records of recordsOf(file)) {
    for (const record of records) {
      if (sampled === options.sample) {
        complete = false;
        break sampling;
      }
      sampled += 1;
      addRecord(file.where, guesses, filled, record);
    }
  }
  for (const guess of guesses.values()) if (filled.get(guess) !== sampled) guess.addNull();
  // A declared column may come after the sample: that is what the error for an unknown key says to do.
  for (const name of options.declared.keys()) {
    if (guesses.has(name)) continue;
    guesses.set(name, new ColumnGuess(name));
    guesses.get(name)?.addNull();
  }
  const columns = [...guesses.values()].map((guess) =>
    guess.column(options.declared.get(guess.name), complete),
  );
  return { columns, sampled };
}

function addRecord(
  where: Where,
  guesses: Map<string, ColumnGuess>,
  filled: Map<ColumnGuess, number>,
  record: JsonRecord,
): void {
  for (const name of Object.keys(record.values)) {
    let guess = guesses.get(name);
    if (guess === undefined) {
      if (guesses.size === MAX_COLUMNS) {
        throw dataError(where, `line ${record.line}: there are more than ${MAX_COLUMNS} keys`, {
          line: record.line,
        });
      }
      guess = new ColumnGuess(name);
      guesses.set(name, guess);
    }
    const value = record.values[name] ?? null;
    if (value === null) continue;
    guess.add(kindOfJson(value, textOf(record, name)));
    filled.set(guess, (filled.get(guess) ?? 0) + 1);
  }
}

/** What becomes of a key: the wanted column that it fills, or null for one that was not asked for. */
interface Target {
  readonly column: Column;
  readonly position: number;
  readonly fit: FitJson;
  readonly sampled: number | null;
}

async function* rows(
  file: TextFile,
  layout: Layout,
  columns: readonly Column[],
  options: ReadOptions,
): AsyncGenerator<readonly Row[]> {
  positionsOf(file.where, layout, columns);
  const targets = new Map<string, Target | null>(layout.columns.map((column) => [column.name, null]));
  for (const [position, column] of columns.entries()) {
    const fit = fitJson(column.type, options.declared.has(column.name));
    targets.set(column.name, { column, position, fit, sampled: sampledFor(column, layout, options) });
  }
  for await (const records of recordsOf(file)) {
    yield records.map((record) => ({
      values: valuesOf(file.where, record, targets, columns.length),
      size: record.size,
    }));
  }
}

function valuesOf(
  where: Where,
  record: JsonRecord,
  targets: ReadonlyMap<string, Target | null>,
  width: number,
): readonly Value[] {
  const values = new Array<Value>(width).fill(null);
  for (const name of Object.keys(record.values)) {
    const target = targets.get(name);
    if (target === undefined) throw unknownKey(where, record, name);
    const given = record.values[name] ?? null;
    if (target === null || given === null) continue;
    const value = target.fit(given, textOf(record, name));
    if (value === undefined) throw misfitOf(where, record, target, given);
    values[target.position] = value;
  }
  return values;
}

function misfitOf(where: Where, record: JsonRecord, target: Target, given: unknown): Error {
  const { column, sampled } = target;
  const text = textOf(record, column.name);
  const kinds = kindOfJson(given, text);
  const shown = typeof given === "object" ? JSON.stringify(given) : text;
  return misfitError(where, { line: record.line, column, text: shown, kinds, sampled });
}

function unknownKey(where: Where, record: JsonRecord, name: string): Error {
  const hint = JSON.stringify({ [name]: "string" });
  return dataError(
    where,
    `line ${record.line}: the key ${JSON.stringify(name.slice(0, 80))} is in none of the records that the columns ` +
      `were inferred from; set "columns": ${hint} (or another type), or a larger "infer_rows", in the source's configuration`,
    { line: record.line, column: name.slice(0, 80) },
  );
}

/** A value as it stands in the file, for classification and messages. */
function textOf(record: JsonRecord, name: string): string {
  const value = record.values[name];
  if (typeof value === "string") return value;
  if (typeof value === "number") return record.exact?.get(name) ?? String(value === 0 ? 0 : value);
  return typeof value === "object" ? "" : String(value);
}

async function* recordsOf(file: TextFile): AsyncGenerator<readonly JsonRecord[]> {
  let number = 0;
  for await (const lines of linesOf(file)) {
    const records: JsonRecord[] = [];
    for (const line of lines) {
      number += 1;
      const record = parse(file.where, line, number);
      if (record !== null) records.push(record);
    }
    yield records;
  }
}

function parse(where: Where, line: string, number: number): JsonRecord | null {
  if (/^\s*$/.test(line)) return null;
  let values: unknown;
  try {
    values = JSON.parse(line);
  } catch (error) {
    throw dataError(
      where,
      `line ${number}: no valid JSON: ${String((error as Error).message).slice(0, 200)}`,
      {
        line: number,
      },
    );
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw dataError(where, `line ${number}: not a JSON object; JSONL has one object per line`, {
      line: number,
    });
  }
  return {
    line: number,
    size: line.length,
    values: values as Record<string, unknown>,
    exact: exactNumbers(line),
  };
}

/** Lines piece by piece of the file; the pieces of a long line are joined once. */
async function* linesOf(file: TextFile): AsyncGenerator<readonly string[]> {
  let parts: string[] = [];
  let length = 0;
  let number = 1;
  const refuseLong = (): void => {
    if (length <= MAX_RECORD) return;
    throw dataError(file.where, `line ${number}: longer than ${MAX_RECORD} characters`, { line: number });
  };
  for await (const text of file.text) {
    const pieces = text.split("\n");
    const last = pieces.pop() ?? "";
    const lines: string[] = [];
    for (const piece of pieces) {
      length += piece.length;
      refuseLong();
      lines.push(parts.length === 0 ? piece : parts.join("") + piece);
      parts = [];
      length = 0;
      number += 1;
    }
    if (last !== "") parts.push(last);
    length += last.length;
    refuseLong();
    yield lines;
  }
  if (parts.length > 0) yield [parts.join("")];
}
