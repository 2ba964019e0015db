/**
 * Writes the next migration: the difference between the schema of the last commit (or nothing) and the one in
 * the work tree. Usage: npm run db:migration -- <name> [--from <file>]
 *
 * The stock CLI wants a native engine that cannot be downloaded everywhere; the same engine as WebAssembly
 * computes the same SQL.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { PrismaPg } from "@prisma/adapter-pg";
import { bindMigrationAwareSqlAdapterFactory } from "@prisma/driver-adapter-utils";

const SCHEMA = "prisma/schema.prisma";
const name = process.argv[2];
if (name === undefined || !/^[a-z0-9_]+$/.test(name)) {
  console.error("usage: npm run db:migration -- <name_in_snake_case>");
  process.exit(2);
}

function previousSchema(): string | null {
  try {
    return execFileSync("git", ["show", `HEAD:${SCHEMA}`], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  } catch {
    return null;
  }
}

/** As much of the global as is used: without the DOM's types TypeScript knows it as a name only. */
interface WasmGlobal {
  instantiate(bytes: Buffer, imports: object): Promise<{ instance: { exports: Record<string, unknown> } }>;
}

/** Node 20 cannot import .wasm files as modules: the glue and the binary are joined by hand. */
async function loadEngine() {
  const folder = dirname(createRequire(import.meta.url).resolve("@prisma/schema-engine-wasm"));
  const glue = await import(pathToFileURL(join(folder, "schema_engine_bg.js")).href);
  const wasm = (globalThis as unknown as { WebAssembly: WasmGlobal }).WebAssembly;
  const { instance } = await wasm.instantiate(readFileSync(join(folder, "schema_engine_bg.wasm")), {
    "./schema_engine_bg.js": glue,
  });
  glue.__wbg_set_wasm(instance.exports);
  (instance.exports["__wbindgen_start"] as () => void)();
  return glue.SchemaEngine;
}

const files = (content: string) => ({ tag: "schemaDatamodel" as const, files: [{ path: SCHEMA, content }] });
const adapter = bindMigrationAwareSqlAdapterFactory(
  new PrismaPg({ connectionString: process.env["DATABASE_URL"] ?? "postgresql://localhost/postgres" }),
);
const SchemaEngine = await loadEngine();
const engine = await SchemaEngine.new(
  { datamodels: [[SCHEMA, readFileSync(SCHEMA, "utf8")]] },
  () => {},
  adapter,
);
const before = previousSchema();
const { stdout } = await engine.diff({
  from: before === null ? { tag: "empty" } : files(before),
  to: files(readFileSync(SCHEMA, "utf8")),
  script: true,
  shadowDatabaseUrl: null,
  exitCode: null,
  filters: { externalTables: [], externalEnums: [] },
});

const stamp = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
const folder = `prisma/migrations/${stamp}_${name}`;
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}/migration.sql`, stdout ?? "");
writeFileSync("prisma/migrations/migration_lock.toml", 'provider = "postgresql"\n');
console.log(`${folder}/migration.sql`);
