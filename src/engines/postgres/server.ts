import { Readable } from "node:stream";
import pg from "pg";
import { type EngineContext, EngineError, type Instance } from "../engine.js";
import { polling } from "../polling.js";
import type { ToolError } from "../substrate.js";
import { asAdmin, fenced } from "./admin.js";
import { knock } from "./health.js";
import type { PostgresPrograms } from "./programs.js";
import {
  ADMIN,
  ADMIN_DATABASE,
  ASIDE,
  access,
  CLUSTER,
  configuration,
  LOADER,
  limitsOf,
  loaderPassword,
  REPLACED,
} from "./settings.js";

const STOP_GRACE_MS = 120_000;
const OPEN_FILES = 4_096;
/** How long a server that runs may refuse clients without loading anything. */
const REFUSED_MS = 30_000;
/** Of the server's log, for what it says when it does not start. */
const LOG_TAIL = 4_000;

/**
 * The superuser's password comes by a file, since others can read what stands on command lines. What this process hands
 * its children is a socket, which cannot be opened by a name. The shell ends with its worker, and initdb with the shell.
 */
const INITDB = `umask 077
cat > "$2.secret" || exit 1
setpriv --pdeathsig=KILL -- "$1" -D "$2" -U "$3" -E UTF8 --locale=C.UTF-8 --data-checksums --auth=scram-sha-256 --pwfile="$2.secret"
code=$?
rm -f "$2.secret"
exit $code`;

const DISK_FULL = /No space left on device/;
/** What the client tools, which speak English here, say of a server that is gone or on its way. */
const SERVER_ENDED =
  /server closed the connection unexpectedly|terminating connection|the database system is (starting up|shutting down|in recovery)|connection to server .* failed/;

/** Who reaches a server that is started: its clients, or Gatehouse alone. */
export type Audience = "clients" | "gatehouse";

/** One deployment's server, for whoever holds its place. */
export class PostgresServer {
  readonly programs: PostgresPrograms;
  readonly instance: Instance;
  readonly context: EngineContext;

  constructor(programs: PostgresPrograms, instance: Instance, context: EngineContext) {
    this.programs = programs;
    this.instance = instance;
    this.context = context;
  }

  /** An empty cluster: complete or not at all. */
  async initialise(): Promise<void> {
    const { place, credentials } = this.instance;
    const { signal } = this.context;
    if ((await place.volume.list(CLUSTER, signal)).length > 0) return;
    await place.make(
      CLUSTER,
      (folder) => ({
        program: "/bin/sh",
        args: ["-c", INITDB, "sh", this.programs.initdb, folder, ADMIN],
        env: {},
        timeoutMs: 120_000,
        stdin: Readable.from([Buffer.from(`${credentials.adminSecret}\n`)]),
      }),
      signal,
    );
  }

  async isRunning(): Promise<boolean> {
    return (await this.instance.place.status()).state !== "stopped";
  }

  /** Whether the server that runs is the one that clients of this instance's address reach. */
  async serves(): Promise<boolean> {
    if (!(await this.isRunning())) return false;
    try {
      return await this.asAdmin(async (client) => {
        const { rows } = await client.query<{ listens: string; port: string }>(
          "SELECT current_setting('listen_addresses') AS listens, current_setting('port') AS port",
        );
        return rows[0]?.listens !== "" && rows[0]?.port === String(this.instance.place.port);
      });
    } catch (error) {
      if (error instanceof EngineError && error.code === "unavailable") return false;
      throw error;
    }
  }

  /** Starts it with this instance's limits, waits until it lets Gatehouse in, and makes what clients need. */
  async start(audience: Audience): Promise<void> {
    const { place } = this.instance;
    const { signal } = this.context;
    await place.volume.writeTexts(
      {
        [`${CLUSTER}/postgresql.conf`]: configuration(this.instance),
        [`${CLUSTER}/pg_hba.conf`]: access(this.instance),
      },
      signal,
    );
    const alone = audience === "gatehouse" ? ["-c", "listen_addresses="] : [];
    await place.start(
      {
        program: this.programs.postgres,
        args: ["-D", place.volume.path(CLUSTER), ...alone],
        env: {},
        openFiles: OPEN_FILES,
      },
      signal,
    );
    await polling(signal, () => this.answers());
    await this.settle();
  }

  /** Whether it lets Gatehouse in; throws where it has ended. */
  private async answers(): Promise<boolean> {
    if (await this.letsIn()) return true;
    if (!(await this.isRunning())) throw await this.whyNot();
    return false;
  }

  private async letsIn(): Promise<boolean> {
    try {
      return await this.asAdmin(async (client) => (await client.query("SELECT 1")).rowCount === 1);
    } catch (error) {
      if (error instanceof EngineError && error.code === "unavailable") return false;
      throw error;
    }
  }

  private async whyNot(): Promise<EngineError> {
    const log = await this.instance.place.logs(LOG_TAIL);
    const cause = new Error(log);
    if (/could not bind|Address already in use/.test(log)) {
      return new EngineError("port_taken", `something else listens on port ${this.instance.place.port}`, {
        cause,
      });
    }
    if (DISK_FULL.test(log)) {
      return new EngineError("disk_full", "the disk of the region is full", { cause });
    }
    return new EngineError("unavailable", "the database server did not start", { cause });
  }

  /** The customer's account and database, and nothing of a load that was broken off. */
  async settle(): Promise<void> {
    const { username } = this.instance.credentials;
    await this.asAdmin(async (client) => {
      await fenced(this.instance, client, () => this.settleAccount(client));
      for (const name of [ASIDE, REPLACED])
        await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      const { rowCount } = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [username]);
      if (rowCount === 0) await this.createDatabase(client, username);
      // Closed for the moment of an exchange, by one that did not live to open it.
      await client.query(`ALTER DATABASE ${pg.escapeIdentifier(username)} ALLOW_CONNECTIONS true`);
    });
  }

  private async settleAccount(client: pg.Client): Promise<void> {
    const { username, password } = this.instance.credentials;
    const name = pg.escapeIdentifier(username);
    const { rowCount } = await client.query("SELECT 1 FROM pg_roles WHERE rolname = $1", [username]);
    if (rowCount === 0) await client.query(`CREATE ROLE ${name}`);
    await client.query(
      `ALTER ROLE ${name} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS LOGIN
         PASSWORD ${pg.escapeLiteral(password)}`,
    );
    const loaders = await client.query("SELECT 1 FROM pg_roles WHERE rolname = $1", [LOADER]);
    if (loaders.rowCount === 0) await client.query(`CREATE ROLE ${LOADER} IN ROLE ${name}`);
    await client.query(
      `ALTER ROLE ${LOADER} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS LOGIN
         PASSWORD ${pg.escapeLiteral(loaderPassword(this.instance.credentials))}`,
    );
    await client.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${ADMIN_DATABASE}, template1 FROM PUBLIC`);
    // A hold keeps its zero.
    await client.query(
      `DO $do$ BEGIN
         IF (SELECT rolconnlimit <> 0 FROM pg_roles WHERE rolname = ${pg.escapeLiteral(username)}) THEN
           ALTER ROLE ${name} CONNECTION LIMIT ${limitsOf(this.instance).connections};
         END IF;
       END $do$`,
    );
  }

  /** An empty database that the customer owns, and that nobody else may enter. */
  async createDatabase(client: pg.Client, database: string): Promise<void> {
    const owner = pg.escapeIdentifier(this.instance.credentials.username);
    const name = pg.escapeIdentifier(database);
    await client.query(
      `CREATE DATABASE ${name} OWNER ${owner} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'`,
    );
    await client.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${name} FROM PUBLIC`);
  }

  /** Saves and stops: a fast shutdown ends sessions and writes a checkpoint. */
  async stop(): Promise<void> {
    await this.instance.place.stop({ stopSignal: "SIGINT", graceMs: STOP_GRACE_MS }, this.context.signal);
  }

  /** Waits while it recovers its data: stopped in that, it would begin anew. */
  async whileStarting(): Promise<void> {
    const { signal } = this.context;
    await polling(signal, async () => (await knock(this.instance, signal)).status !== "starting");
  }

  /** Waits until a client would be let in. */
  async untilHealthy(): Promise<void> {
    const { signal } = this.context;
    const deadline = performance.now() + REFUSED_MS;
    await polling(signal, async () => {
      const { status, detail } = await knock(this.instance, signal);
      if (status === "stopped") throw await this.whyNot();
      if (status === "failed" && performance.now() > deadline) {
        throw new EngineError("unavailable", `the database server lets nobody in: ${detail}`);
      }
      return status === "healthy";
    });
  }

  /** Does something while the server runs, at least for Gatehouse; one that was stopped is stopped again. */
  async running<T>(work: () => Promise<T>): Promise<T> {
    let isUp = false;
    // What is left of one that was killed ends by itself.
    await polling(this.context.signal, async () => {
      isUp = await this.letsIn();
      return isUp || !(await this.isRunning());
    });
    if (isUp) return work();
    await this.start("gatehouse");
    try {
      return await work();
    } finally {
      await this.stop();
    }
  }

  /**
   * Why a tool failed: because the server ended meanwhile, or the disk is full, or for what the tool itself says.
   * @param ofTool what its complaint means
   */
  async faultOf(cause: ToolError, ofTool: (complaint: string) => EngineError): Promise<EngineError> {
    const { stderr } = cause;
    if (DISK_FULL.test(stderr))
      return new EngineError("disk_full", "the disk of the region is full", { cause });
    if (SERVER_ENDED.test(stderr) || !(await this.letsIn()))
      return new EngineError("unavailable", "the database server ended meanwhile", { cause });
    return ofTool(firstLine(stderr));
  }

  asAdmin<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    return asAdmin(this.instance, this.context.signal, work);
  }
}

/** Of a tool's complaints, for the client. */
function firstLine(stderr: string): string {
  const lines = stderr
    .split("\n")
    .map((line) => line.replace(/^(pg_dump|pg_restore|psql)[^:]*: /, "").trim());
  const found = lines.find((line) => /error|fatal|fehler/i.test(line)) ?? lines.find((line) => line !== "");
  return (found ?? "it gave no reason").slice(0, 500);
}
