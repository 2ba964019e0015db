import type { Column, ColumnType, Value } from "../connector.js";
import { JSON_NUMBER } from "./numbers.js";
import { plainText, type RowWriterFactory } from "./row-writer.js";

const NUMERIC: ReadonlySet<ColumnType> = new Set(["integer", "decimal", "float"]);

/** Writes JSON Lines: an object per row, every column in it, null where there is no value. */
export const jsonlWriter: RowWriterFactory = (columns) => {
  // Text instead of an object: numbers keep all their digits, and a column may be called __proto__.
  const keys = columns.map((column, i) => `${i === 0 ? "{" : ","}${JSON.stringify(column.name)}:`);
  const end = columns.length === 0 ? "{}\n" : "}\n";
  return {
    head: "",
    row: (values) => {
      let text = "";
      for (const [i, column] of columns.entries()) text += keys[i] + jsonOf(values[i] ?? null, column);
      return text + end;
    },
  };
};

function jsonOf(value: Value, column: Column): string {
  if (value === null) return "null";
  if (column.type === "json") return JSON.stringify(value);
  if (typeof value === "boolean") return String(value);
  // JSON has no NaN and no Infinity: they become strings, which inference takes for numbers again.
  const number = typeof value === "number" || (typeof value === "string" && NUMERIC.has(column.type));
  const text = plainText(value);
  return number && JSON_NUMBER.test(text) ? text : JSON.stringify(text);
}
