import pg from "pg";

/** The role and the database of the control plane. */
export const ROLE = "gatehouse";
const DATABASE = "gatehouse";

/**
 * Makes the role `gatehouse` and the database `gatehouse` that it owns, where they are missing. The role may do
 * anything inside its database and nothing outside: it is no superuser and makes neither databases nor roles.
 * Other roles of the server (the demo's stores) cannot connect to this database.
 */
export async function ensureDatabase(adminUrl: string, password: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl, ssl: false });
  client.on("error", () => {}); // told by the query that it breaks, and by `exited`
  await client.connect();
  try {
    const { rows } = await client.query<{ role: boolean; database: boolean }>(
      `select exists (select from pg_roles where rolname = $1) as role,
              exists (select from pg_database where datname = $2) as database`,
      [ROLE, DATABASE],
    );
    if (rows[0]?.role !== true) {
      const limits = "nosuperuser nocreatedb nocreaterole noreplication nobypassrls";
      await client.query(`create role ${ROLE} login ${limits} password ${client.escapeLiteral(password)}`);
    }
    if (rows[0]?.database !== true) await client.query(`create database ${DATABASE} owner ${ROLE}`);
    // In every start: a crash may have come between the creation and this.
    await client.query(`revoke connect, temporary on database ${DATABASE}, postgres, template1 from public`);
  } finally {
    await client.end();
  }
}

/** The URL of a database of the server on this port. */
export function urlOf(port: number, role: string, password: string, database: string): string {
  return `postgresql://${role}:${password}@127.0.0.1:${port}/${database}`;
}

/** The URL of the database `gatehouse` for its role. */
export function databaseUrl(port: number, password: string): string {
  return urlOf(port, ROLE, password, DATABASE);
}

/** The URL for the superuser, on the maintenance database. */
export function adminUrlOf(port: number, password: string): string {
  return urlOf(port, "postgres", password, "postgres");
}
