import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { startEmbeddedPostgres } from "../../src/embedded/postgres.js";
import { migrate } from "../../src/platform/migrate.js";

declare module "vitest" {
  interface ProvidedContext {
    /** Superuser URL of the tests' PostgreSQL server, without a database name. */
    adminUrl: string;
    /** Name of the migrated database that test files clone. */
    template: string;
  }
}

/**
 * One real PostgreSQL server for the whole test run, with a migrated template database that each test file
 * clones. GATEHOUSE_TEST_ADMIN_URL names a running server to use instead (faster while developing).
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env["GATEHOUSE_TEST_ADMIN_URL"];
  const home = await mkdtemp(join(tmpdir(), "gatehouse-test-"));
  // As root the server runs as another user, who must get to its data.
  await chmod(home, 0o755);
  const server = given === undefined ? await startEmbeddedPostgres({ home, log: () => {} }) : null;
  const adminUrl = withoutDatabase(given ?? server?.adminUrl ?? "");
  // Several test runs may share one server.
  const template = `gatehouse_template_${process.pid}`;
  await makeTemplate(adminUrl, template);
  project.provide("adminUrl", adminUrl);
  project.provide("template", template);
  return async () => {
    await run(adminUrl, [`DROP DATABASE IF EXISTS ${template} WITH (FORCE)`]);
    await server?.stop();
    await rm(home, { recursive: true, force: true });
  };
}

async function makeTemplate(adminUrl: string, template: string): Promise<void> {
  await run(adminUrl, [`DROP DATABASE IF EXISTS ${template} WITH (FORCE)`, `CREATE DATABASE ${template}`]);
  await migrate(`${adminUrl}/${template}`, resolve("prisma/migrations"));
}

async function run(adminUrl: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: `${adminUrl}/postgres` });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

function withoutDatabase(url: string): string {
  const parsed = new URL(url);
  parsed.pathname = "";
  return parsed.href.replace(/\/$/, "");
}
