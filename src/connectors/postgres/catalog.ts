import { type Column, ConnectorError, type Stream } from "../connector.js";
import type { Session } from "./client.js";
import { OWN_PREFIX } from "./names.js";
import { logicalType, STORE } from "./types.js";

interface ColumnRow {
  readonly name: string;
  readonly notNull: boolean;
  /** As format_type prints it, domains replaced by what they are made of. */
  readonly type: string;
  /** Of the type, or of the elements of an array. */
  readonly typeName: string;
  readonly isArray: boolean;
  readonly builtIn: boolean;
}

interface TableRow {
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly ColumnRow[];
  readonly primaryKey: readonly string[];
  /** As of the last ANALYZE; null where it is not known. */
  readonly rows: number | null;
}

/**
 * Tables ($2: only that one) of some schemas ($1) that the user may read, with the columns that the user may
 * read. Partitions are read through their parent. Materialized views and foreign tables count as tables.
 */
const TABLES = `
  SELECT n.nspname AS schema, c.relname AS name,
    coalesce((
      SELECT json_agg(json_build_object(
        'name', a.attname, 'notNull', a.attnotnull,
        'type', format_type(plain.type, plain.typmod),
        'typeName', coalesce(element.typname, t.typname),
        'isArray', element.oid IS NOT NULL,
        'builtIn', coalesce(element.typnamespace, t.typnamespace) = 'pg_catalog'::regnamespace
      ) ORDER BY a.attnum)
      FROM pg_attribute a
      CROSS JOIN LATERAL (
        WITH RECURSIVE chain AS (
          SELECT a.atttypid AS type, a.atttypmod AS typmod
          UNION ALL
          SELECT d.typbasetype, d.typtypmod FROM chain JOIN pg_type d ON d.oid = chain.type WHERE d.typtype = 'd'
        )
        SELECT chain.type, chain.typmod FROM chain JOIN pg_type b ON b.oid = chain.type WHERE b.typtype <> 'd'
      ) AS plain
      JOIN pg_type t ON t.oid = plain.type
      LEFT JOIN pg_type element ON element.oid = t.typelem AND element.typarray = t.oid
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND has_column_privilege(c.oid, a.attnum, 'SELECT')
    ), '[]') AS columns,
    coalesce((
      SELECT json_agg(a.attname ORDER BY key.position)
      FROM pg_constraint k
      CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS key (attnum, position)
      JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.attnum
      WHERE k.conrelid = c.oid AND k.contype = 'p'
    ), '[]') AS "primaryKey",
    CASE WHEN c.reltuples > 0 THEN c.reltuples::float8 END AS rows
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = ANY ($1::text[]) AND ($2::text IS NULL OR c.relname = $2)
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND left(c.relname, ${OWN_PREFIX.length}) <> '${OWN_PREFIX}'
    AND has_schema_privilege(n.oid, 'USAGE')
    AND has_any_column_privilege(c.oid, 'SELECT')
  ORDER BY array_position($1::text[], n.nspname::text), c.relname`;

/** Every stream of the schemas. */
export async function readStreams(session: Session, schemas: readonly string[]): Promise<Stream[]> {
  await assertSchemas(session, schemas);
  return (await session.rows<TableRow>(TABLES, [schemas, null])).map(streamOf);
}

/** One stream, of the first of the schemas that has it. */
export async function readStream(
  session: Session,
  schemas: readonly string[],
  name: string,
): Promise<Stream> {
  const [row] = await session.rows<TableRow>(TABLES, [schemas, name]);
  if (row !== undefined) return streamOf(row);
  throw new ConnectorError(
    "not_found",
    `the table or view "${name}" does not exist in ${schemas.join(", ")}, or the user may not read it`,
    { details: { stream: name } },
  );
}

/** Throws where a schema is missing or closed to the user. */
export async function assertSchemas(session: Session, schemas: readonly string[]): Promise<void> {
  const [missing] = await session.rows<{ name: string; exists: boolean }>(
    `SELECT wanted.name, n.oid IS NOT NULL AS exists
     FROM unnest($1::text[]) AS wanted (name) LEFT JOIN pg_namespace n ON n.nspname = wanted.name
     WHERE n.oid IS NULL OR NOT has_schema_privilege(n.oid, 'USAGE')`,
    [schemas],
  );
  if (missing === undefined) return;
  throw missing.exists
    ? new ConnectorError("unauthorized", `the user may not use the schema ${missing.name}`)
    : new ConnectorError("not_found", `the schema ${missing.name} does not exist`);
}

function streamOf(row: TableRow): Stream {
  const columns = row.columns.map(columnOf);
  const readable = new Set(columns.map(({ name }) => name));
  return {
    name: row.name,
    namespace: row.schema,
    columns,
    primaryKey: row.primaryKey.every((name) => readable.has(name)) ? row.primaryKey : [],
    cursorFields: columns.filter(isCursor).map(({ name }) => name),
    syncModes: ["full_refresh"],
    ...(row.rows === null ? {} : { estimate: { rows: row.rows } }),
  };
}

function columnOf(row: ColumnRow): Column {
  return {
    name: row.name,
    type: logicalType({ name: row.typeName, isArray: row.isArray, builtIn: row.builtIn }),
    nullable: !row.notNull,
    native: { store: STORE, type: row.type },
  };
}

/** Types that can grow with every change; whether they do only the user knows. */
function isCursor({ type, nullable }: Column): boolean {
  return !nullable && ["integer", "timestamp", "timestamptz", "date"].includes(type);
}

/**
 * Tables that this transaction has locked and that are no longer what its snapshot shows: dropped and made
 * again, truncated or rewritten by another session. Reading them would give too few rows without an error
 * (https://www.postgresql.org/docs/current/mvcc-caveats.html). pg_class is read with the snapshot,
 * pg_relation_filenode and pg_get_indexdef tell what is there now (new indexes do no harm); oids below 16384
 * are the system's own.
 */
const REPLACED = `
  SELECT coalesce(c.relname, l.relation::regclass::text) AS name
  FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
  WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation >= 16384
    AND ((c.oid IS NULL AND pg_get_indexdef(l.relation) IS NULL)
      OR (c.relkind IN ('r', 'm') AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)))
  LIMIT 1`;

/** Throws where what was locked so far cannot be read as of the snapshot. */
export async function assertUnreplaced(session: Session, stream: string): Promise<void> {
  const [replaced] = await session.rows<{ name: string }>(REPLACED);
  if (replaced === undefined) return;
  throw new ConnectorError(
    "failed",
    `stream "${stream}": the table ${replaced.name} was replaced or truncated after the sync had begun; run it again`,
    { details: { stream } },
  );
}
