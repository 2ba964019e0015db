import type { ColumnType, ConfigSchema, ConnectorConfig } from "../connector.js";
import { configError } from "./errors.js";

/** Formats of files. Parquet joins here, in `formatOf` and in `readerOf`. */
export type Format = "csv" | "jsonl";

const FORMATS: readonly Format[] = ["csv", "jsonl"];

const COLUMN_TYPES: readonly ColumnType[] = [
  "string",
  "integer",
  "decimal",
  "float",
  "boolean",
  "date",
  "time",
  "timestamp",
  "timestamptz",
  "json",
  "binary",
];

const DEFAULT_SAMPLE = 10_000;
const MAX_SAMPLE = 1_000_000;

// One printable ASCII character or a tab; `\t` can be typed where a tab cannot.
const DELIMITER = /^(?:[ -~]|\t|\\t)$/;
const QUOTE = /^[!-~]?$/;

/** Configuration of a source. */
export const sourceSpec: ConfigSchema = {
  type: "object",
  required: ["path"],
  additionalProperties: false,
  properties: {
    path: {
      type: "string",
      title: "Path",
      description:
        "A file, a folder or a pattern such as exports/*.csv, relative to the files root. Every file is a stream, named as the file without its extensions; .gz is unpacked.",
      minLength: 1,
    },
    format: {
      type: "string",
      title: "Format",
      enum: FORMATS,
      description: "By default told by the name: .csv, .tsv, .jsonl, .ndjson.",
    },
    encoding: { type: "string", title: "Encoding", enum: ["utf-8"], default: "utf-8" },
    delimiter: delimiterProperty("By default a comma, and a tab in .tsv files."),
    quote: {
      type: "string",
      title: "Quote",
      description: "The character around quoted fields of a CSV file; empty where quotes mean nothing.",
      default: '"',
      pattern: QUOTE.source,
    },
    header: {
      type: "boolean",
      title: "Header",
      description: "The first record of a CSV file names the columns; else they are column_1, column_2 ...",
      default: true,
    },
    null_value: {
      type: "string",
      title: "Null value",
      description: "The unquoted text that stands for no value in a CSV file.",
      default: "",
    },
    columns: {
      type: "object",
      title: "Column types",
      description: 'Types that override the inferred ones, such as {"zip": "string"}.',
      additionalProperties: { type: "string", enum: COLUMN_TYPES },
      default: {},
    },
    infer_rows: {
      type: "integer",
      title: "Records to infer from",
      description: "Types are inferred from this many records at the start of each file.",
      minimum: 1,
      maximum: MAX_SAMPLE,
      default: DEFAULT_SAMPLE,
    },
  },
};

/** Configuration of a destination. */
export const destinationSpec: ConfigSchema = {
  type: "object",
  required: ["path"],
  additionalProperties: false,
  properties: {
    path: {
      type: "string",
      title: "Folder",
      description: "A folder relative to the files root, made where it is missing. Every stream is a file.",
      minLength: 1,
    },
    format: { type: "string", title: "Format", enum: FORMATS, default: "csv" },
    delimiter: delimiterProperty("By default a comma."),
    header: {
      type: "boolean",
      title: "Header",
      description: "The first record of a CSV file names the columns.",
      default: true,
    },
    null_value: {
      type: "string",
      title: "Null value",
      description: "What a CSV file says for no value; an empty string is always quoted.",
      default: "",
      pattern: '^[^"\\r\\n]*$',
      maxLength: 100,
    },
  },
};

function delimiterProperty(description: string) {
  return { type: "string", title: "Delimiter", description, pattern: DELIMITER.source };
}

/** A source's configuration, with defaults. */
export interface SourceSettings {
  readonly path: string;
  readonly format: Format | undefined;
  /** Undefined: by the file's name. */
  readonly delimiter: string | undefined;
  readonly quote: string;
  readonly header: boolean;
  readonly nullValue: string;
  readonly columns: ReadonlyMap<string, ColumnType>;
  readonly sample: number;
}

/** A destination's configuration, with defaults. */
export interface DestinationSettings {
  readonly path: string;
  readonly format: Format;
  readonly delimiter: string;
  readonly header: boolean;
  readonly nullValue: string;
}

export function sourceSettings(config: ConnectorConfig): SourceSettings {
  const delimiter = delimiterOf(config);
  const quote = text(config, "quote") ?? '"';
  if (!QUOTE.test(quote)) throw configError('"quote" must be one character, or empty');
  if (delimiter === quote) throw configError('"delimiter" and "quote" must differ');
  const encoding = text(config, "encoding") ?? "utf-8";
  if (encoding !== "utf-8") throw configError('"encoding" must be utf-8; convert the file');
  return {
    path: pathOf(config),
    format: formatSetting(config),
    delimiter,
    quote,
    header: flag(config, "header") ?? true,
    nullValue: text(config, "null_value") ?? "",
    columns: columnTypes(config["columns"]),
    sample: sampleOf(config["infer_rows"]),
  };
}

export function destinationSettings(config: ConnectorConfig): DestinationSettings {
  const delimiter = delimiterOf(config) ?? ",";
  const nullValue = text(config, "null_value") ?? "";
  if (delimiter === '"') throw configError('"delimiter" must not be the quote character');
  // It is written unquoted, so it must not be taken for anything else.
  if (/["\r\n]/.test(nullValue) || nullValue.includes(delimiter)) {
    throw configError('"null_value" must not contain the delimiter, a quote or a line end');
  }
  return {
    path: pathOf(config),
    format: formatSetting(config) ?? "csv",
    delimiter,
    header: flag(config, "header") ?? true,
    nullValue,
  };
}

function pathOf(config: ConnectorConfig): string {
  const path = text(config, "path");
  if (path === undefined) throw configError('"path" is missing');
  return path;
}

function delimiterOf(config: ConnectorConfig): string | undefined {
  const delimiter = text(config, "delimiter");
  if (delimiter === undefined) return undefined;
  if (!DELIMITER.test(delimiter)) throw configError('"delimiter" must be one character');
  return delimiter === "\\t" ? "\t" : delimiter;
}

function formatSetting(config: ConnectorConfig): Format | undefined {
  const format = text(config, "format");
  if (format === undefined) return undefined;
  const known = FORMATS.find((candidate) => candidate === format);
  if (known === undefined) throw configError(`"format" must be one of ${FORMATS.join(", ")}`);
  return known;
}

function columnTypes(value: unknown): ReadonlyMap<string, ColumnType> {
  if (value === undefined) return new Map();
  if (typeof value !== "object" || value === null) throw configError('"columns" must be an object');
  return new Map(
    Object.entries(value).map(([name, type]) => {
      const known = COLUMN_TYPES.find((candidate) => candidate === type);
      if (known !== undefined) return [name, known];
      throw configError(`"columns": the type of "${name}" must be one of ${COLUMN_TYPES.join(", ")}`);
    }),
  );
}

function sampleOf(value: unknown): number {
  if (value === undefined) return DEFAULT_SAMPLE;
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= MAX_SAMPLE) return value;
  throw configError(`"infer_rows" must be a whole number from 1 to ${MAX_SAMPLE}`);
}

function text(config: ConnectorConfig, name: string): string | undefined {
  const value = config[name];
  if (value === undefined || typeof value === "string") return value;
  throw configError(`"${name}" must be a string`);
}

function flag(config: ConnectorConfig, name: string): boolean | undefined {
  const value = config[name];
  if (value === undefined || typeof value === "boolean") return value;
  throw configError(`"${name}" must be true or false`);
}
