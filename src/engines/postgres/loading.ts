import { randomBytes } from "node:crypto";
import { PassThrough, type Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import { EngineError } from "../engine.js";
import { ToolError, type ToolSpec } from "../substrate.js";
import { fenced, hasLoaded, recordLoad } from "./admin.js";
import { connection, secrets } from "./dumping.js";
import { WithoutRestrict } from "./plain-sql.js";
import type { PostgresServer } from "./server.js";
import { ASIDE, REPLACED } from "./settings.js";

const DAY_MS = 24 * 3_600_000;
const NEVER = new AbortController().signal;
const FOLDER = "incoming";
/** Of an archive of pg_dump's custom format. */
const MAGIC = "PGDMP";
const TAR_MAGIC = "ustar";

/** Where an archive comes from: this engine itself, or anybody. */
export type Origin = "own" | "foreign";

/**
 * Replaces the data: the archive is stored in the place, loaded by the customer's own account into a database beside
 * the present one, and the two are renamed in one transaction. Until then, and where anything fails, the present one
 * serves.
 */
export async function replaceData(server: PostgresServer, archive: Readable, origin: Origin): Promise<void> {
  const { volume, fence, limits } = server.instance.place;
  const { signal } = server.context;
  await volume.remove(FOLDER, signal);
  await volume.makeFolders([FOLDER], signal);
  const file = `${FOLDER}/${fence.command}-${fence.attempt}`;
  try {
    await volume.write(file, archive, { limitBytes: limits.storageBytes, signal });
    const isCustom = await beginsLikeAnArchive(server, file, origin);
    await server.running(async () => {
      if (await server.asAdmin((client) => hasLoaded(server.instance, client))) return;
      await server.asAdmin(async (client) => {
        await client.query(`DROP DATABASE IF EXISTS ${ASIDE} WITH (FORCE)`);
        await server.createDatabase(client, ASIDE);
      });
      if (isCustom) await restoreCustom(server, file, origin);
      else await runPlain(server, file);
      await exchange(server);
    });
  } finally {
    // It may be as large as the data. Left over where that fails, and removed by the next load.
    await volume.remove(FOLDER, NEVER).catch(() => {});
  }
}

/** True: custom format; false: SQL. Throws where it is neither. */
async function beginsLikeAnArchive(server: PostgresServer, file: string, origin: Origin): Promise<boolean> {
  const head = await headOf(server.instance.place.volume.read(file, server.context.signal));
  if (head.subarray(0, MAGIC.length).toString("latin1") === MAGIC) return true;
  if (origin === "own") throw bad("it is no archive of pg_dump");
  if (head.length === 0) throw bad("it is empty");
  if (head.subarray(257, 262).toString("latin1") === TAR_MAGIC || head.includes(0)) {
    throw bad("it is neither an archive of pg_dump in custom format (pg_dump -Fc) nor plain SQL");
  }
  if (!server.programs.takesPlainSql) {
    throw bad("plain SQL needs a newer psql on this machine: use pg_dump -Fc");
  }
  return false;
}

/** The first bytes, at most 512 or a chunk. */
async function headOf(stream: Readable): Promise<Buffer> {
  for await (const chunk of stream) return (chunk as Buffer).subarray(0, 512);
  return Buffer.alloc(0);
}

/** Entries of others' archives that only a superuser could make, and that are in the new database anyway. */
const GIVEN =
  / (EXTENSION - plpgsql|COMMENT - EXTENSION \S+|SCHEMA - public|COMMENT - SCHEMA public|ACL - SCHEMA public)( |$)/;

async function restoreCustom(server: PostgresServer, file: string, origin: Origin): Promise<void> {
  const { place, credentials } = server.instance;
  const { username } = credentials;
  const { signal } = server.context;
  const path = place.volume.path(file);
  const listed = await tool(server, {
    program: server.programs.restore,
    args: ["--list", path],
    env: {},
    timeoutMs: DAY_MS,
  });
  const kept = listed.split("\n").filter((line) => !GIVEN.test(line));
  const list = `${file}.list`;
  await place.volume.write(list, kept.join("\n"), { limitBytes: 256 * 1024 ** 2, signal });
  await tool(server, {
    program: server.programs.restore,
    args: [
      ...["--single-transaction", "--exit-on-error", "--no-owner", `--role=${username}`],
      // Others' roles are not here; the customer's own rights came with its archive.
      ...(origin === "foreign" ? ["--no-acl"] : []),
      ...[`--use-list=${place.volume.path(list)}`, ...connection(server, ASIDE), path],
    ],
    env: secrets(server),
    timeoutMs: DAY_MS,
  });
}

/** Under `\restrict` psql runs SQL alone, and none of its own commands, some of which run programs and read files. */
async function runPlain(server: PostgresServer, file: string): Promise<void> {
  const { volume } = server.instance.place;
  const script = new PassThrough();
  const read = pipeline(volume.read(file, server.context.signal), new WithoutRestrict(), script).catch(
    () => {},
  );
  await tool(server, {
    program: server.programs.psql,
    args: [
      ...["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"],
      `--command=SET ROLE ${pg.escapeIdentifier(server.instance.credentials.username)}`,
      `--command=\\restrict ${randomBytes(24).toString("hex")}`,
      ...["--file=-", ...connection(server, ASIDE)],
    ],
    env: secrets(server),
    timeoutMs: DAY_MS,
    stdin: script,
  });
  await read;
}

/** Its output; a complaint of the tool's is a fault of the archive. */
async function tool(server: PostgresServer, spec: ToolSpec): Promise<string> {
  const { signal } = server.context;
  const output: Buffer[] = [];
  const collector = new PassThrough().on("data", (chunk: Buffer) => output.push(chunk));
  try {
    await server.instance.place.run({ ...spec, stdout: collector }, signal);
    return Buffer.concat(output).toString();
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw await server.faultOf(error, (why) => bad(why, error));
  }
}

/** The new data under the old name: from this moment on, or not at all. */
async function exchange(server: PostgresServer): Promise<void> {
  const { instance } = server;
  const { username } = instance.credentials;
  const name = pg.escapeIdentifier(username);
  await server.asAdmin(async (client) => {
    // Nobody comes in while the sessions are ended: a database with sessions cannot be renamed.
    await client.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
    try {
      await client.query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ANY ($1) AND pid <> pg_backend_pid()",
        [[username, ASIDE]],
      );
      await fenced(instance, client, async () => {
        await client.query(`ALTER DATABASE ${name} RENAME TO ${REPLACED}`);
        await client.query(`ALTER DATABASE ${ASIDE} RENAME TO ${name}`);
        await recordLoad(instance, client);
      });
    } finally {
      await client.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
    }
    await client.query(`DROP DATABASE IF EXISTS ${REPLACED} WITH (FORCE)`);
  });
}

function bad(why: string, cause?: unknown): EngineError {
  return new EngineError("bad_archive", `the archive cannot be loaded: ${why}`, { cause });
}
