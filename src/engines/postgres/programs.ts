import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { EngineVersion } from "../engine.js";

/** Server and tools of one version: all of them are needed. */
export interface PostgresPrograms {
  readonly version: EngineVersion;
  readonly major: number;
  readonly postgres: string;
  readonly initdb: string;
  readonly dump: string;
  readonly restore: string;
  readonly psql: string;
  /** Whether psql can be kept from running its own commands (`\restrict`, CVE-2025-8714), as plain SQL needs. */
  readonly takesPlainSql: boolean;
}

const NAMES = ["postgres", "initdb", "pg_dump", "pg_restore", "psql"] as const;
/** Where Debian and others put them, a folder for each major version. */
const PARENTS = ["/usr/lib/postgresql", "/usr/local/lib/postgresql"];
/** The minor versions in which psql learnt `\restrict`; all of later majors have it. */
const RESTRICT_SINCE: Readonly<Record<number, number>> = { 13: 22, 14: 19, 15: 14, 16: 10, 17: 6 };

/** What is on this machine, newest first; one version of each major. */
export async function findPostgresPrograms(path: string): Promise<PostgresPrograms[]> {
  const folders = [
    ...PARENTS.flatMap((parent) => namesIn(parent).map((name) => join(parent, name, "bin"))),
    ...path.split(":").filter((folder) => folder.startsWith("/")),
  ];
  const found = new Map<number, PostgresPrograms>();
  for (const folder of folders) {
    const programs = await lookIn(folder);
    if (programs !== null && !found.has(programs.major)) found.set(programs.major, programs);
  }
  return [...found.values()].sort((a, b) => b.major - a.major);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

async function lookIn(folder: string): Promise<PostgresPrograms | null> {
  try {
    await Promise.all(NAMES.map((name) => access(join(folder, name), constants.X_OK)));
    const [server, psql] = await Promise.all([
      numberOf(join(folder, "postgres")),
      numberOf(join(folder, "psql")),
    ]);
    const major = Number(server.split(".")[0]);
    const [psqlMajor = 0, psqlMinor = 0] = psql.split(".").map(Number);
    if (major < 13) return null;
    return {
      version: { number: server, edition: "community", vendor: "PostgreSQL" },
      major,
      postgres: join(folder, "postgres"),
      initdb: join(folder, "initdb"),
      dump: join(folder, "pg_dump"),
      restore: join(folder, "pg_restore"),
      psql: join(folder, "psql"),
      takesPlainSql: psqlMajor > 17 || psqlMinor >= (RESTRICT_SINCE[psqlMajor] ?? Number.POSITIVE_INFINITY),
    };
  } catch {
    return null;
  }
}

/** `15.18` of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`. */
async function numberOf(program: string): Promise<string> {
  const { stdout } = await promisify(execFile)(program, ["--version"], {
    timeout: 10_000,
    env: { LC_ALL: "C" },
  });
  const number = /\) (\d+(?:\.\d+)+)/.exec(stdout)?.[1];
  if (number === undefined) throw new Error(`${program} tells no version`);
  return number;
}
