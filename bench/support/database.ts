import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import pg from "pg";
import { startEmbeddedPostgres } from "../../src/embedded/postgres.js";
import { migrate } from "../../src/platform/migrate.js";

/** A migrated database of a benchmark's own. */
export interface BenchDatabase {
  readonly url: string;
  drop(): Promise<void>;
}

/**
 * Makes a database on the server that GATEHOUSE_TEST_ADMIN_URL names, as the tests do, or on an embedded one that
 * lives as long as the database.
 */
export async function createBenchDatabase(): Promise<BenchDatabase> {
  const given = process.env["GATEHOUSE_TEST_ADMIN_URL"];
  const home = await mkdtemp(join(tmpdir(), "gatehouse-bench-"));
  // As root the server runs as another user, who must get to its data: else that is outside, and stays there.
  await chmod(home, 0o711);
  const server = given === undefined ? await startEmbeddedPostgres({ home, log: () => {} }) : null;
  const admin = new URL(given ?? server?.adminUrl ?? "");
  admin.pathname = "/postgres";
  const name = `bench_${randomBytes(6).toString("hex")}`;
  await run(admin.href, `CREATE DATABASE ${name}`);
  const url = new URL(admin);
  url.pathname = `/${name}`;
  await migrate(url.href, resolve("prisma/migrations"));
  return {
    url: url.href,
    drop: async () => {
      await run(admin.href, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      await server?.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}

async function run(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
