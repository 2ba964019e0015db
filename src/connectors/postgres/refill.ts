import { isDeepStrictEqual } from "node:util";
import pg from "pg";
import { ConnectorError } from "../connector.js";
import type { Session } from "./client.js";
import { sqlState } from "./errors.js";
import { qualified, quote, quoteAll } from "./names.js";
import type { OwnedTable } from "./state.js";
import type { Table } from "./table.js";

/** A table that stays, and the staged one whose rows it gets. */
interface Refill {
  readonly session: Session;
  readonly schema: string;
  readonly table: string;
  readonly target: Table;
  /** The target as this job left it: all else on it is its users'. */
  readonly owned: OwnedTable;
  readonly stagingTable: string;
  readonly staging: Table;
}

/** dependent_objects_still_exist, feature_not_supported (TRUNCATE under a foreign key, ALTER TYPE under a view). */
const IN_THE_WAY: ReadonlySet<string> = new Set(["2BP01", "0A000"]);

/**
 * Empties the target, changes its columns to those of the staging table and fills it, within the caller's
 * transaction. Where something of the users' makes that impossible, a ConnectorError names it.
 */
export async function refill(work: Refill): Promise<void> {
  const { session, schema, table, staging, stagingTable } = work;
  const name = qualified(schema, table);
  try {
    await session.run(`TRUNCATE TABLE ${name}`);
    for (const change of changes(work)) await session.run(`ALTER TABLE ${name} ${change}`);
    const columns = quoteAll(staging.columns.map((column) => column.name));
    if (columns !== "") {
      const from = qualified(schema, stagingTable);
      await session.run(`INSERT INTO ${name} (${columns}) SELECT ${columns} FROM ${from}`);
    }
    await session.run(`DROP TABLE ${qualified(schema, stagingTable)}`);
  } catch (error) {
    if (!IN_THE_WAY.has(sqlState(error)) || !(error instanceof pg.DatabaseError)) throw error;
    throw new ConnectorError(
      "failed",
      `the table ${name} cannot be replaced, because of what depends on it: ${error.detail ?? error.message}`,
      { details: { stream: table, table: `${schema}.${table}` }, cause: error },
    );
  }
}

/** ALTER TABLE actions, in an order in which each is possible; the table is empty. */
function changes({ target, owned, staging }: Refill): string[] {
  const dropsKey = target.primaryKey !== null && isOurs(target, owned) && !sameKey(target, staging);
  const keptKey = dropsKey ? null : target.primaryKey;
  const present = new Map(target.columns.map((column) => [column.name, column]));
  const wanted = new Set(staging.columns.map(({ name }) => name));
  return [
    dropsKey ? [`DROP CONSTRAINT ${quote(target.primaryKey?.name ?? "")}`] : [],
    owned.columns
      .filter((name) => present.has(name) && !wanted.has(name))
      .map((name) => `DROP COLUMN ${quote(name)}`),
    staging.columns.flatMap(({ name, type, notNull }) => {
      const column = quote(name);
      const old = present.get(name);
      if (old === undefined) return [`ADD COLUMN ${column} ${type}${notNull ? " NOT NULL" : ""}`];
      const settled = notNull === old.notNull || keptKey?.columns.includes(name) === true;
      return [
        ...(type === old.type ? [] : [`ALTER COLUMN ${column} TYPE ${type} USING NULL::${type}`]),
        ...(settled ? [] : [`ALTER COLUMN ${column} ${notNull ? "SET" : "DROP"} NOT NULL`]),
      ];
    }),
    keptKey === null && staging.primaryKey !== null
      ? [`ADD PRIMARY KEY (${quoteAll(staging.primaryKey.columns)})`]
      : [],
  ].flat();
}

function isOurs(target: Table, owned: OwnedTable): boolean {
  return isDeepStrictEqual(target.primaryKey?.columns ?? [], owned.primaryKey);
}

function sameKey(target: Table, staging: Table): boolean {
  return isDeepStrictEqual(target.primaryKey?.columns, staging.primaryKey?.columns);
}
