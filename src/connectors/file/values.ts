import type { Column, ColumnType, ConnectorError, Value } from "../connector.js";
import { dataError, type Where } from "./errors.js";
import { suggestedType } from "./infer.js";
import { DECIMAL, INTEGER, isInt64, JSON_NUMBER, SPECIAL } from "./numbers.js";
import { parseTime, parseTimeOfDay } from "./times.js";

/** Turns a field into a value of the column's type; undefined where it does not fit. */
export type FitText = (text: string) => Value | undefined;
/** The same for a JSON value that is not null; `exact` is the text of a number as it stood in the file. */
export type FitJson = (value: unknown, exact: string) => Value | undefined;

// What a declared type accepts besides: the user has said that 007 and +7 are numbers here.
const LOOSE_NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
const LOOSE_TRUE = /^(?:true|t|yes|y|1)$/i;
const LOOSE_FALSE = /^(?:false|f|no|n|0)$/i;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/**
 * How fields become values of a type. Types that were inferred take exactly what inference takes for them, so a
 * later `01234` in an integer column is an error and not the number 1234; declared types are read generously.
 */
export function fitText(type: ColumnType, declared: boolean): FitText {
  const fit = strictFit(type);
  const loose = declared ? looseFit(type) : undefined;
  if (type === "string") return fit;
  // In a column that is no string, an empty field is no value, quoted or not.
  return (text) => (text === "" ? null : (fit(text) ?? loose?.(text)));
}

function strictFit(type: ColumnType): FitText {
  switch (type) {
    case "string":
      return (text) => text;
    case "integer":
      return (text) => (INTEGER.test(text) ? integer(text) : undefined);
    case "decimal":
      return (text) => (DECIMAL.test(text) ? text : undefined);
    case "float":
      return (text) => (JSON_NUMBER.test(text) || SPECIAL.test(text) ? float(text) : undefined);
    case "boolean":
      return strictBoolean;
    case "date":
    case "timestamp":
    case "timestamptz":
      return (text) => {
        const time = parseTime(text);
        return time?.type === type ? time.text : undefined;
      };
    case "time":
      return parseTimeOfDay;
    case "json":
      return json;
    case "binary":
      return (text) => (text.length % 4 === 0 && BASE64.test(text) ? Buffer.from(text, "base64") : undefined);
  }
}

function looseFit(type: ColumnType): FitText | undefined {
  switch (type) {
    case "integer":
      return (text) => (/^[+-]?\d+$/.test(text) ? integer(plain(text)) : undefined);
    case "decimal":
      return (text) => (LOOSE_NUMBER.test(text) ? plain(text) : undefined);
    case "float":
      return (text) => (LOOSE_NUMBER.test(text) ? float(text) : undefined);
    case "boolean":
      return (text) => (LOOSE_TRUE.test(text) ? true : LOOSE_FALSE.test(text) ? false : undefined);
    default:
      return undefined;
  }
}

/** `+007.` as `7`, `.5` as `0.5`. */
function plain(text: string): string {
  const sign = text.startsWith("-") ? "-" : "";
  const digits = text
    .replace(/^[+-]/, "")
    .replace(/^0+(?=\d)/, "")
    .replace(/^\./, "0.");
  return sign + digits.replace(/\.(?=$|[eE])/, "");
}

function integer(text: string): Value | undefined {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value === 0 ? 0 : value;
  return isInt64(text) ? text : undefined;
}

/** A number past the range of doubles does not fit; only a written Infinity is one. */
function float(text: string): Value | undefined {
  const value = Number(text);
  return Number.isFinite(value) || SPECIAL.test(text) ? value : undefined;
}

function strictBoolean(text: string): Value | undefined {
  const lower = text.toLowerCase();
  return lower === "true" ? true : lower === "false" ? false : undefined;
}

function json(text: string): Value | undefined {
  try {
    return JSON.parse(text) as Value;
  } catch {
    return undefined;
  }
}

/** How JSON values become values of a type. */
export function fitJson(type: ColumnType, declared: boolean): FitJson {
  const text = fitText(type, declared);
  switch (type) {
    case "json":
      return (value) => value as Value;
    case "string":
      return (value, exact) => scalarText(value, exact) ?? (declared ? JSON.stringify(value) : undefined);
    case "boolean":
      return (value) =>
        typeof value === "boolean" ? value : declared ? stringOrNothing(value, text) : undefined;
    case "integer":
    case "decimal":
    case "float":
      return (value, exact) => {
        if (typeof value === "number") return text(exact);
        // JSON has no NaN and no Infinity, so these come as strings.
        const special = type === "float" && typeof value === "string" && SPECIAL.test(value);
        return declared || special ? stringOrNothing(value, text) : undefined;
      };
    default:
      return (value) => stringOrNothing(value, text);
  }
}

/** Numbers and booleans in a column of strings are the text that stood in the file. */
function scalarText(value: unknown, exact: string): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "number") return exact;
  return typeof value === "boolean" ? String(value) : undefined;
}

function stringOrNothing(value: unknown, fit: FitText): Value | undefined {
  return typeof value === "string" ? fit(value) : undefined;
}

/** A value that does not fit its column. */
export interface Misfit {
  readonly line: number;
  readonly column: Column;
  readonly text: string;
  readonly kinds: number;
  /** Records that the type was inferred from; null where the configuration sets it. */
  readonly sampled: number | null;
}

/** The error for it: where, what, and the line of configuration that would take it. */
export function misfitError(where: Where, misfit: Misfit): ConnectorError {
  const { line, column, text, kinds, sampled } = misfit;
  const value = text.length > 80 ? `${text.slice(0, 80)}...` : text;
  const hint = JSON.stringify({ [column.name]: suggestedType(column.type, kinds) });
  const origin = sampled === null ? 'as "columns" says' : `as inferred from the first ${sampled} records`;
  return dataError(
    where,
    `line ${line}, column "${column.name}": the value ${JSON.stringify(value)} is not of type ${column.type}, ` +
      `${origin}; correct the file, or set "columns": ${hint} in the source's configuration`,
    { line, column: column.name, value, expected: column.type },
  );
}
