import { ConnectorError } from "../connector.js";
import type { Session } from "./client.js";
import { qualified } from "./names.js";
import type { JobState, OwnedTable, StateTable } from "./state.js";

interface TableColumn {
  readonly name: string;
  /** As format_type prints it. */
  readonly type: string;
  readonly notNull: boolean;
}

/** A table as the catalog shows it. */
export interface Table {
  readonly oid: number;
  readonly columns: readonly TableColumn[];
  /** Null where it has none. */
  readonly primaryKey: { readonly name: string; readonly columns: readonly string[] } | null;
}

interface Relation {
  readonly oid: number;
  readonly kind: string;
}

const KINDS: Readonly<Record<string, string>> = {
  r: "table",
  p: "partitioned table",
  v: "view",
  m: "materialized view",
  f: "foreign table",
  S: "sequence",
  i: "index",
  I: "index",
  c: "type",
};

const COLUMNS = `
  SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS "notNull"
  FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum`;

const PRIMARY_KEY = `
  SELECT k.conname AS name, (
    SELECT array_agg(a.attname::text ORDER BY key.position)
    FROM unnest(k.conkey) WITH ORDINALITY AS key (attnum, position)
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.attnum
  ) AS columns
  FROM pg_constraint k WHERE k.conrelid = $1 AND k.contype = 'p'`;

async function relationNamed(session: Session, schema: string, name: string): Promise<Relation | undefined> {
  const [relation] = await session.rows<Relation>(
    `SELECT c.oid, c.relkind AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = $2`,
    [schema, name],
  );
  return relation;
}

async function describeTable(session: Session, oid: number): Promise<Table> {
  const columns = await session.rows<TableColumn>(COLUMNS, [oid]);
  const [primaryKey] = await session.rows<{ name: string; columns: string[] }>(PRIMARY_KEY, [oid]);
  return { oid, columns, primaryKey: primaryKey ?? null };
}

/** A table that is known to exist. */
export async function readTable(session: Session, schema: string, name: string): Promise<Table> {
  const relation = await relationNamed(session, schema, name);
  if (relation === undefined) throw new Error(`${qualified(schema, name)} is gone`);
  return describeTable(session, relation.oid);
}

/** A table of the job's own, and what it was when the job last left it. */
export interface OwnTable {
  readonly table: Table;
  readonly owned: OwnedTable;
}

/** The job's own table of a name, null where there is none yet; throws where the name is somebody else's. */
export async function ownTable(
  session: Session,
  states: StateTable,
  state: JobState,
  schema: string,
  name: string,
): Promise<OwnTable | null> {
  const relation = await relationNamed(session, schema, name);
  if (relation === undefined) return null;
  if (relation.kind !== "r") throw foreign(schema, name, KINDS[relation.kind] ?? "relation", "");
  const table = await describeTable(session, relation.oid);
  const owned = Object.hasOwn(state.tables, name) ? state.tables[name] : undefined;
  if (owned?.oid === table.oid) return { table, owned };
  const other = await states.otherOwner(name, table.oid);
  if (other !== undefined) throw foreign(schema, name, "table", ` but the job ${other}'s`);
  // Another oid with the same columns: the database was restored from a dump.
  if (owned !== undefined && hasColumnsOf(table, owned)) return { table, owned };
  throw foreign(schema, name, "table", "");
}

function hasColumnsOf(table: Table, owned: OwnedTable): boolean {
  const names = new Set(table.columns.map(({ name }) => name));
  return owned.columns.every((name) => names.has(name));
}

function foreign(schema: string, name: string, kind: string, whose: string): ConnectorError {
  return new ConnectorError(
    "failed",
    `the ${kind} ${qualified(schema, name)} exists and is not this job's${whose}, so it is not replaced: drop or rename it, or choose another schema for the destination`,
    { details: { stream: name, table: `${schema}.${name}` } },
  );
}
