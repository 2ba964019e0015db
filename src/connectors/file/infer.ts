import type { Column, ColumnType } from "../connector.js";
import { DECIMAL, INTEGER, isInt64, SPECIAL, significantDigits } from "./numbers.js";
import { parseTime } from "./times.js";

/**
 * What a value looks like, as bits: the kinds seen in a column are or-ed together, so inference needs no memory
 * however many records it looks at.
 */
export const KIND = {
  integer: 1,
  decimal: 2,
  /** With an exponent. */
  float: 4,
  /** NaN and the infinities: numbers where the others of the column are. */
  special: 8,
  /** More digits than a double keeps: forbids `float`. Never alone. */
  wide: 16,
  boolean: 32,
  date: 64,
  timestamp: 128,
  timestamptz: 256,
  json: 512,
  string: 1_024,
} as const;

const NUMERIC = KIND.integer | KIND.decimal | KIND.float | KIND.special | KIND.wide;

const EXPONENT = /^-?(?:0|[1-9]\d*)(?:\.\d+)?[eE][+-]?\d+$/;
// What programs print for a double always has a point or a sign; `12e5` is more likely an article number.
const PRINTED_EXPONENT = /^-?(?:0|[1-9]\d*)(?:\.\d+[eE][+-]?|[eE][+-])\d+$/;
const BOOLEAN = /^(?:true|false)$/i;

/** The kind of a CSV field. Empty text says nothing: in a column that is no string it is no value. */
export function kindOfText(text: string): number {
  if (text === "") return 0;
  if (SPECIAL.test(text)) return KIND.special;
  if (BOOLEAN.test(text)) return KIND.boolean;
  if (!/^[-0-9]/.test(text)) return KIND.string;
  return kindOfNumber(text) || (PRINTED_EXPONENT.test(text) ? exponentKind(text) : timeKind(text));
}

/** The kind of a JSON value; `exact` is the text of a number as it stood in the file. */
export function kindOfJson(value: unknown, exact: string): number {
  switch (typeof value) {
    case "number":
      return kindOfNumber(exact) || exponentKind(exact);
    case "boolean":
      return KIND.boolean;
    case "string":
      // The producer wrote a string: "1" is none of our numbers. JSON has no times, so those are recognised.
      if (SPECIAL.test(value)) return KIND.special;
      return timeKind(value);
    default:
      return value === null ? 0 : KIND.json;
  }
}

function kindOfNumber(text: string): number {
  if (INTEGER.test(text)) {
    if (Number.isSafeInteger(Number(text))) return KIND.integer;
    return (isInt64(text) ? KIND.integer : KIND.decimal) | KIND.wide;
  }
  if (!DECIMAL.test(text)) return 0;
  return text.length > 17 && significantDigits(text) > 17 ? KIND.decimal | KIND.wide : KIND.decimal;
}

function exponentKind(text: string): number {
  if (!EXPONENT.test(text)) return KIND.string;
  return Number.isFinite(Number(text)) ? KIND.float : KIND.string;
}

function timeKind(text: string): number {
  const time = parseTime(text);
  return time === undefined ? KIND.string : KIND[time.type];
}

/** The narrowest type that holds every kind seen without losing anything. */
export function typeOfKinds(kinds: number): ColumnType {
  if (kinds === 0) return "string";
  if ((kinds & KIND.json) !== 0) return "json";
  if ((kinds & ~NUMERIC) === 0) return numericType(kinds);
  switch (kinds) {
    case KIND.boolean:
      return "boolean";
    case KIND.date:
      return "date";
    case KIND.timestamp:
      return "timestamp";
    case KIND.timestamptz:
      return "timestamptz";
    default:
      return "string";
  }
}

function numericType(kinds: number): ColumnType {
  if (kinds === KIND.special) return "string";
  if ((kinds & (KIND.float | KIND.special)) !== 0) return (kinds & KIND.wide) === 0 ? "float" : "string";
  return (kinds & KIND.decimal) === 0 ? "integer" : "decimal";
}

const KIND_OF_TYPE: Readonly<Record<ColumnType, number>> = {
  string: KIND.string,
  integer: KIND.integer,
  decimal: KIND.decimal,
  float: KIND.float,
  boolean: KIND.boolean,
  date: KIND.date,
  time: KIND.string,
  timestamp: KIND.timestamp,
  timestamptz: KIND.timestamptz,
  json: KIND.json,
  binary: KIND.string,
};

/** The type that would hold what a column holds and a value of these kinds as well: what an error suggests. */
export function suggestedType(type: ColumnType, kinds: number): ColumnType {
  const joined = typeOfKinds(KIND_OF_TYPE[type] | kinds);
  return joined === type ? "string" : joined;
}

/** What inference has seen of one column. */
export class ColumnGuess {
  readonly name: string;
  #kinds = 0;
  #nulls = false;

  constructor(name: string) {
    this.name = name;
  }

  add(kinds: number): void {
    this.#kinds |= kinds;
  }

  addNull(): void {
    this.#nulls = true;
  }

  /**
   * `complete`: every record was looked at. Else the column is nullable whatever was seen, since a destination
   * that was promised values would break on the first empty one after the sample.
   */
  column(declared: ColumnType | undefined, complete: boolean): Column {
    const type = declared ?? typeOfKinds(this.#kinds);
    return { name: this.name, type, nullable: this.#nulls || !complete };
  }
}

/** Columns of a file as inferred, with what the configuration says of them. */
export interface Layout {
  readonly columns: readonly Column[];
  /** Records that the types come from. */
  readonly sampled: number;
}
