import type { Session } from "./client.js";
import { sqlState } from "./errors.js";
import { MAX_NAME_BYTES, qualified, quote } from "./names.js";
import { refill } from "./refill.js";
import type { Staged } from "./staging.js";
import type { OwnedTable } from "./state.js";
import { type OwnTable, readTable, type Table } from "./table.js";

/** What putting a staged table in its place needs to know. */
interface Swap {
  readonly session: Session;
  readonly schema: string;
  readonly staged: Staged;
  /** The table that is replaced, locked; null: there is none yet. */
  readonly target: OwnTable | null;
  readonly log: (message: string) => void;
}

const DEPENDENT_OBJECTS = "2BP01";

/**
 * Puts a staged table in the place of the target, within the caller's transaction. A target that is as this job
 * left it is dropped and the staging table renamed, whatever its size. One that users have added to (indexes,
 * triggers, views on it ...) is kept, emptied and filled again, so that nothing of theirs is lost.
 */
export async function putInPlace(swap: Swap): Promise<OwnedTable> {
  const { session, schema, staged, target } = swap;
  const staging = await readTable(session, schema, staged.staging);
  if (target === null) await rename(swap);
  else await replace(swap, target, staging);
  const { oid } = await readTable(session, schema, staged.table);
  return {
    oid,
    columns: staging.columns.map(({ name }) => name),
    primaryKey: staging.primaryKey?.columns ?? [],
  };
}

async function replace(swap: Swap, target: OwnTable, staging: Table): Promise<void> {
  logChanges(swap, target, staging);
  const found = await additions(swap.session, target);
  const kept = found.length > 0 ? found : await exchange(swap, target.table, staging);
  if (kept.length === 0) return;
  const { session, schema, staged, log } = swap;
  log(`table ${staged.table}: kept and filled again, because of ${kept.join(", ")}`);
  await refill({
    session,
    schema,
    table: staged.table,
    target: target.table,
    owned: target.owned,
    stagingTable: staged.staging,
    staging,
  });
}

/** Drop and rename; gives what prevents the drop where something depends on the target that was not foreseen. */
async function exchange({ session, schema, staged }: Swap, target: Table, staging: Table): Promise<string[]> {
  const grants = await grantStatements(session, target, staging, qualified(schema, staged.table));
  await session.run("SAVEPOINT exchange");
  try {
    await session.run(`DROP TABLE ${qualified(schema, staged.table)}`);
  } catch (error) {
    if (sqlState(error) !== DEPENDENT_OBJECTS) throw error;
    await session.run("ROLLBACK TO SAVEPOINT exchange");
    return ["objects that depend on it"];
  }
  await rename({ session, schema, staged });
  for (const statement of grants) await session.run(statement);
  return [];
}

async function rename({
  session,
  schema,
  staged,
}: Pick<Swap, "session" | "schema" | "staged">): Promise<void> {
  await session.run(`ALTER TABLE ${qualified(schema, staged.staging)} RENAME TO ${quote(staged.table)}`);
  const key = `${staged.table}_pkey`;
  const { primaryKey } = await readTable(session, schema, staged.table);
  if (primaryKey === null || Buffer.byteLength(key) > MAX_NAME_BYTES) return;
  const [taken] = await session.rows(
    "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
    [schema, key],
  );
  if (taken !== undefined) return;
  await session.run(
    `ALTER TABLE ${qualified(schema, staged.table)} RENAME CONSTRAINT ${quote(primaryKey.name)} TO ${quote(key)}`,
  );
}

/**
 * What is on or around a table ($1) that this job did not make: its columns ($2) and primary key ($3) are the
 * job's. Everything that depends on a table is in pg_depend; what is a property of it is not.
 */
const ADDITIONS = `
  SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS what
  FROM pg_depend d
  LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.conrelid = $1
  LEFT JOIN pg_class r ON d.classid = 'pg_class'::regclass AND r.oid = d.objid
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
    AND d.classid <> 'pg_type'::regclass AND r.relkind IS DISTINCT FROM 't'
    AND k.contype IS DISTINCT FROM 'n'
    AND NOT (k.contype IS NOT DISTINCT FROM 'p' AND $3::text[] = (
      SELECT array_agg(a.attname::text ORDER BY key.position)
      FROM unnest(k.conkey) WITH ORDINALITY AS key (attnum, position)
      JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = key.attnum))
  UNION
  SELECT 'column ' || attname FROM pg_attribute
  WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attname <> ALL ($2::text[])
  UNION
  SELECT 'grants on column ' || attname FROM pg_attribute WHERE attrelid = $1 AND attacl IS NOT NULL
  UNION
  SELECT 'a comment' FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = $1
  UNION
  SELECT 'a security label' FROM pg_seclabel WHERE classoid = 'pg_class'::regclass AND objoid = $1
  UNION
  SELECT 'its parent table' FROM pg_inherits WHERE inhrelid = $1
  UNION
  SELECT found.what FROM pg_class c CROSS JOIN LATERAL (VALUES
    ('row level security', c.relrowsecurity OR c.relforcerowsecurity),
    ('storage parameters', c.reloptions IS NOT NULL),
    ('a replica identity', c.relreplident <> 'd'),
    ('a tablespace', c.reltablespace <> 0),
    ('a persistence of its own', c.relpersistence <> 'p'),
    ('its owner', c.relowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user))
  ) AS found (what, present)
  WHERE c.oid = $1 AND found.present
  ORDER BY 1`;

async function additions(session: Session, { table, owned }: OwnTable): Promise<string[]> {
  const rows = await session.rows<{ what: string }>(ADDITIONS, [table.oid, owned.columns, owned.primaryKey]);
  return rows.map(({ what }) => what);
}

/** Gives the new table ($2) exactly the grants of the old one ($1); default privileges may have given it others. */
const GRANTS = `
  WITH acls AS (
    SELECT c.oid, c.relowner AS owner, acl.grantee, acl.privilege_type AS privilege, acl.is_grantable AS grantable,
      CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS name
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS acl WHERE c.oid IN ($1, $2)
  )
  SELECT DISTINCT 1 AS position, format('REVOKE ALL ON %s FROM %s', $3::text, name) AS statement
  FROM acls WHERE oid = $2 AND grantee <> owner
  UNION ALL
  SELECT 2, format('GRANT %s ON %s TO %s%s', string_agg(privilege, ', '), $3::text, name,
    CASE WHEN grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM acls WHERE oid = $1 AND grantee <> owner GROUP BY name, grantable
  ORDER BY 1`;

async function grantStatements(session: Session, from: Table, to: Table, name: string): Promise<string[]> {
  const rows = await session.rows<{ statement: string }>(GRANTS, [from.oid, to.oid, name]);
  return rows.map(({ statement }) => statement);
}

function logChanges({ staged, log }: Swap, { table, owned }: OwnTable, staging: Table): void {
  const before = new Map(table.columns.map((column) => [column.name, column.type]));
  for (const { name, type } of staging.columns) {
    const old = before.get(name);
    if (old === undefined) log(`table ${staged.table}: new column ${name} (${type})`);
    else if (old !== type) log(`table ${staged.table}: column ${name} is now ${type}, was ${old}`);
  }
  const now = new Set(staging.columns.map(({ name }) => name));
  for (const name of owned.columns) {
    if (!now.has(name)) log(`table ${staged.table}: column ${name} is gone, as in the source`);
  }
}
