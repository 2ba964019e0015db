import type { Column, ColumnType, Value } from "../connector.js";

/** What `native.store` is for columns of this connector. */
export const STORE = "postgres";

/**
 * Built-in types by their name in pg_type. All others, enums, ranges, intervals, network addresses and the
 * like, are strings in the form that PostgreSQL prints.
 */
const BY_NAME: Readonly<Record<string, ColumnType>> = {
  int2: "integer",
  int4: "integer",
  int8: "integer",
  oid: "integer",
  numeric: "decimal",
  float4: "float",
  float8: "float",
  bool: "boolean",
  date: "date",
  time: "time",
  timestamp: "timestamp",
  timestamptz: "timestamptz",
  json: "json",
  jsonb: "json",
  bytea: "binary",
};

/**
 * Built-in types whose arrays are JSON arrays. Arrays of all others are strings such as `{a,b}`: of json, because
 * an element that is an array could not be told from a dimension; of bytea, because JSON has no bytes.
 */
const ARRAY_ELEMENTS: ReadonlySet<string> = new Set([
  ...Object.keys(BY_NAME).filter((name) => !["json", "jsonb", "bytea"].includes(name)),
  ...["text", "varchar", "bpchar", "uuid"],
]);

/** What the catalog says of a column's type, domains replaced by what they are made of. */
interface CatalogType {
  /** Name in pg_type: of the type, or of the elements of an array. */
  readonly name: string;
  readonly isArray: boolean;
  /** Whether it belongs to PostgreSQL itself (pg_catalog). */
  readonly builtIn: boolean;
}

export function logicalType(type: CatalogType): ColumnType {
  if (!type.builtIn) return "string";
  if (type.isArray) return ARRAY_ELEMENTS.has(type.name) ? "json" : "string";
  return BY_NAME[type.name] ?? "string";
}

/** The column type at a destination that lacks the native one; text takes whatever PostgreSQL prints. */
const FALLBACK: Readonly<Record<ColumnType, string>> = {
  string: "text",
  integer: "bigint",
  decimal: "numeric",
  float: "double precision",
  boolean: "boolean",
  date: "date",
  time: "time without time zone",
  timestamp: "timestamp without time zone",
  timestamptz: "timestamp with time zone",
  json: "jsonb",
  binary: "bytea",
};

export function fallbackType(type: ColumnType): string {
  return FALLBACK[type];
}

/** The native type of a column that came from PostgreSQL. */
export function nativeType(column: Column): string | undefined {
  return column.native?.store === STORE ? column.native.type : undefined;
}

/** Whether a type, as format_type prints it, is an array. */
export function isArrayType(type: string): boolean {
  return type.endsWith("[]");
}

/** Makes a value of the text that PostgreSQL prints for it. */
type Decoder = (text: string) => Value;

const DECODERS: Readonly<Record<ColumnType, Decoder>> = {
  string: (text) => text,
  integer: decodeInteger,
  decimal: (text) => text,
  float: decodeFloat,
  // "true" where it was cast to text, as the elements of arrays are.
  boolean: (text) => text === "t" || text === "true",
  date: (text) => text,
  time: (text) => text,
  timestamp: decodeTimestamp,
  timestamptz: decodeTimestamptz,
  json: (text) => JSON.parse(text) as Value,
  binary: (text) => Buffer.from(text.slice(2), "hex"),
};

/** How the values of a column are decoded; arrays arrive as JSON of their elements' texts (see `selectExpression`). */
export function decoderOf(column: Column): Decoder {
  const native = nativeType(column) ?? "";
  if (column.type !== "json" || !isArrayType(native)) return DECODERS[column.type];
  const element = DECODERS[elementType(native)];
  return (text) => decodeElements(JSON.parse(text) as Elements, element) as readonly unknown[];
}

type Elements = readonly (string | null | Elements)[];

function decodeElements(elements: Elements, decode: Decoder): unknown[] {
  return elements.map((each) =>
    each === null ? null : typeof each === "string" ? decode(each) : decodeElements(each, decode),
  );
}

/** Of the formatted names that can stand before `[]` in a JSON array column. */
const ELEMENT_TYPES: readonly (readonly [RegExp, ColumnType])[] = [
  [/^(smallint|integer|bigint|oid)\b/, "integer"],
  [/^numeric\b/, "decimal"],
  [/^(real|double precision)\b/, "float"],
  [/^boolean\b/, "boolean"],
  [/^timestamp\b.* with time zone/, "timestamptz"],
  [/^timestamp\b/, "timestamp"],
];

function elementType(native: string): ColumnType {
  return ELEMENT_TYPES.find(([pattern]) => pattern.test(native))?.[1] ?? "string";
}

/** What to select so that `decoderOf` understands it. */
export function selectExpression(column: Column, quoted: string): string {
  const asJson = column.type === "json" && isArrayType(nativeType(column) ?? "");
  return asJson ? `pg_catalog.to_json(${quoted}::pg_catalog.text[])` : quoted;
}

function decodeInteger(text: string): Value {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : text;
}

/** NaN and the infinities have no JSON number: they stay strings. */
function decodeFloat(text: string): Value {
  const number = Number(text);
  return Number.isFinite(number) ? number : text;
}

/** ISO 8601 but for what it cannot say: `infinity`, `-infinity` and years BC keep PostgreSQL's form. */
function decodeTimestamp(text: string): Value {
  return text.endsWith("BC") ? text : text.replace(" ", "T");
}

function decodeTimestamptz(text: string): Value {
  return text.endsWith("BC") ? text : text.replace(" ", "T").replace(/\+00$/, "Z");
}
