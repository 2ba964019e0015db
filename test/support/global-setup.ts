import { mkdtemp, rm } from "node:fs/promises";
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
  }
}

export const TEMPLATE = "gatehouse_template";

/**
 * One real PostgreSQL server for the whole test run, with a migrated template database that each test file
 * clones. GATEHOUSE_TEST_ADMIN_URL names a running server to use instead (faster while developing).
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env["GATEHOUSE_TEST_ADMIN_URL"];
  const home = await mkdtemp(join(tmpdir(), "gatehouse-test-"));
  const server = given === undefined ? await startEmbeddedPostgres({ home, log: () => {} }) : null;
  const adminUrl = (given ?? server?.adminUrl ?? "").replace(/\/[^/]*$/, "");
  await makeTemplate(adminUrl);
  project.provide("adminUrl", adminUrl);
  return async () => {
    await server?.stop();
    await rm(home, { recursive: true, force: true });
  };
}

async function makeTemplate(adminUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: `${adminUrl}/postgres` });
  await client.connect();
  try {
    await client.query(`DROP DATABASE IF EXISTS ${TEMPLATE} WITH (FORCE)`);
    await client.query(`CREATE DATABASE ${TEMPLATE}`);
  } finally {
    await client.end();
  }
  await migrate(`${adminUrl}/${TEMPLATE}`, resolve("prisma/migrations"));
}
