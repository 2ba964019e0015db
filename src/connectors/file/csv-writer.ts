import type { Column, Value } from "../connector.js";
import { plainText, type RowWriter, type RowWriterFactory } from "./row-writer.js";

export interface CsvWriterOptions {
  readonly delimiter: string;
  readonly header: boolean;
  readonly nullValue: string;
}

/**
 * Writes CSV by RFC 4180, lines ended by LF. Fields are quoted where they must be: a delimiter, quote or line
 * end in them, and a text that would be read as null (the empty string always). Nothing else is changed:
 * a file of data is no spreadsheet, so a leading = stays as it is.
 */
export function csvWriter(options: CsvWriterOptions): RowWriterFactory {
  // A byte order mark that is data must not stand at the start of the file, where readers drop it.
  const special = new RegExp(`["\\r\\n\\ufeff${escaped(options.delimiter)}]`);
  const quoted = (text: string): string =>
    text === "" || text === options.nullValue || special.test(text)
      ? `"${text.replaceAll('"', '""')}"`
      : text;
  const field = (value: Value, column: Column | undefined): string => {
    if (value === null) return options.nullValue;
    return quoted(column?.type === "json" ? JSON.stringify(value) : plainText(value));
  };
  const line = (fields: readonly string[]): string => `${fields.join(options.delimiter)}\n`;
  return (columns): RowWriter => ({
    head: options.header ? line(columns.map((column) => quoted(column.name))) : "",
    row: (values) => line(columns.map((column, i) => field(values[i] ?? null, column))),
  });
}

function escaped(delimiter: string): string {
  return `\\u${delimiter.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
