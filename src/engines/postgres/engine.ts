import type { Readable } from "node:stream";
import pg from "pg";
import {
  type Engine,
  type EngineContext,
  EngineError,
  type Health,
  type Instance,
  type Observed,
  type StorageHold,
  type Usage,
} from "../engine.js";
import { asAdmin, fenced } from "./admin.js";
import { dumpOf } from "./dumping.js";
import { knock } from "./health.js";
import { replaceData } from "./loading.js";
import { findPostgresPrograms, type PostgresPrograms } from "./programs.js";
import { PostgresServer } from "./server.js";
import { ADMIN, ADMIN_DATABASE, ASIDE, CLUSTER, configuration, limitsOf, REPLACED } from "./settings.js";

const MISSING =
  "no PostgreSQL with its client tools was found: on Debian 12 install it by `apt-get install postgresql-15 postgresql-client-15`";

/**
 * The engine `postgres`. Looks for its programs once.
 * @param path where they are looked for besides the usual folders: folders with colons between
 */
export async function createPostgresEngine(path: string): Promise<Engine> {
  return new PostgresEngine(await findPostgresPrograms(path));
}

const RESERVED_NAMES: ReadonlySet<string> = new Set([
  ...[ADMIN, ADMIN_DATABASE, ASIDE, REPLACED, "template0", "template1", "public", "none"],
]);

class PostgresEngine implements Engine {
  readonly name = "postgres";
  readonly vendor = "PostgreSQL";
  readonly edition = "community";
  readonly extras = [];
  readonly archiveExtension = "dump";
  readonly #found: readonly PostgresPrograms[];

  constructor(found: readonly PostgresPrograms[]) {
    this.#found = found;
  }

  get versions() {
    return this.#found.map(({ version }) => version);
  }

  get missing(): string | null {
    return this.#found.length === 0 ? MISSING : null;
  }

  usernameFault(username: string): string | null {
    if (!/^[a-z][a-z0-9_]{0,30}$/.test(username) || username.startsWith("pg_")) {
      return "a user name has 1 to 31 lower-case letters, digits and _, a letter first, and not pg_";
    }
    return RESERVED_NAMES.has(username) ? `the user name ${username} is taken` : null;
  }

  connectionUrl(
    host: string,
    port: number,
    { username, password }: { username: string; password: string },
  ): string {
    return `postgresql://${username}:${password}@${host}:${port}/${username}`;
  }

  provision(instance: Instance, context: EngineContext): Promise<void> {
    return this.#server(instance, context).initialise();
  }

  async start(instance: Instance, context: EngineContext): Promise<void> {
    const server = this.#server(instance, context);
    if (await server.isRunning()) {
      await server.whileStarting();
      if (await server.serves()) {
        await server.settle();
        return server.untilHealthy();
      }
      // Another port, Gatehouse's socket alone, or it hangs.
      await server.stop();
    }
    await server.start("clients");
    await server.untilHealthy();
  }

  stop(instance: Instance, context: EngineContext): Promise<void> {
    return this.#server(instance, context).stop();
  }

  health(observed: Observed, signal: AbortSignal): Promise<Health> {
    return knock(observed, signal);
  }

  async snapshot(instance: Instance, context: EngineContext): Promise<Readable> {
    return dumpOf(this.#server(instance, context));
  }

  export(instance: Instance, context: EngineContext): Promise<Readable> {
    return this.snapshot(instance, context);
  }

  restore(instance: Instance, archive: Readable, context: EngineContext): Promise<void> {
    return replaceData(this.#server(instance, context), archive, "own");
  }

  import(instance: Instance, archive: Readable, context: EngineContext): Promise<void> {
    return replaceData(this.#server(instance, context), archive, "foreign");
  }

  async changeCredentials(instance: Instance, context: EngineContext): Promise<void> {
    const server = this.#server(instance, context);
    await server.running(async () => {
      await server.settle();
      await server.asAdmin((client) =>
        client.query(
          "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid()",
          [instance.credentials.username],
        ),
      );
    });
  }

  async resize(instance: Instance, context: EngineContext): Promise<{ readonly needsRestart: boolean }> {
    const server = this.#server(instance, context);
    const { place } = instance;
    const stored = await place.size(context.signal, CLUSTER);
    if (stored > place.limits.storageBytes) {
      throw new EngineError("too_large", `the data takes ${stored} bytes, more than the plan has`);
    }
    // One that is stopped gets them when it is started.
    if (!(await server.serves())) return { needsRestart: false };
    await place.volume.writeTexts(
      { [`${CLUSTER}/postgresql.conf`]: configuration(instance) },
      context.signal,
    );
    return server.asAdmin(async (client) => {
      await client.query("SELECT pg_reload_conf()");
      await server.settle();
      const { rows } = await client.query<{ connections: number; buffers: number }>(
        `SELECT current_setting('max_connections')::int AS connections,
           (pg_size_bytes(current_setting('shared_buffers')) / 1048576)::int AS buffers`,
      );
      const wanted = limitsOf(instance);
      const [now] = rows;
      return {
        needsRestart: now?.connections !== wanted.maxConnections || now.buffers !== wanted.sharedBuffers,
      };
    });
  }

  async holdStorage(instance: Instance, hold: StorageHold, context: EngineContext): Promise<void> {
    const server = this.#server(instance, context);
    const { username } = instance.credentials;
    const name = pg.escapeIdentifier(username);
    const sessions = hold === "closed" ? 0 : limitsOf(instance).connections;
    const readOnly =
      hold === "none" ? "RESET default_transaction_read_only" : "SET default_transaction_read_only = on";
    await server.running(() =>
      server.asAdmin(async (client) => {
        const { rows } = await client.query<{ held: boolean; closed: boolean }>(
          `SELECT EXISTS (SELECT 1 FROM pg_db_role_setting s WHERE s.setrole = r.oid) AS held, rolconnlimit = 0 AS closed
           FROM pg_roles r WHERE rolname = $1`,
          [username],
        );
        const [now] = rows;
        if (now?.held === (hold !== "none") && now.closed === (hold === "closed")) return;
        await fenced(instance, client, async () => {
          await client.query(`ALTER ROLE ${name} ${readOnly}`);
          await client.query(`ALTER ROLE ${name} CONNECTION LIMIT ${sessions}`);
        });
        // Sessions keep the settings that they began with.
        await client.query(
          "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1",
          [username],
        );
      }),
    );
  }

  destroy(instance: Instance, context: EngineContext): Promise<void> {
    return instance.place.remove(context.signal);
  }

  async inspect(observed: Observed, signal: AbortSignal): Promise<Usage> {
    const { place, credentials } = observed;
    const status = await place.status();
    const storageBytes = await place.size(signal);
    if (status.state !== "running") return { storageBytes, memoryBytes: null, connections: null };
    const connections = await asAdmin(observed, signal, async (client) => {
      const { rows } = await client.query<{ count: number }>(
        "SELECT count(*)::int AS count FROM pg_stat_activity WHERE usename = $1",
        [credentials.username],
      );
      return rows[0]?.count ?? null;
    }).catch(() => {
      signal.throwIfAborted();
      return null;
    });
    return { storageBytes, memoryBytes: await place.memory(), connections };
  }

  /** Minor versions are made for each other's data: an upgrade of the machine's packages is one of the deployments. */
  #server(instance: Instance, context: EngineContext): PostgresServer {
    const major = Number(instance.version.split(".")[0]);
    const programs = this.#found.find((found) => found.major === major);
    if (programs === undefined) {
      const detail = this.missing ?? `PostgreSQL ${major} is not on this machine (any more)`;
      throw new EngineError("not_installed", detail);
    }
    return new PostgresServer(programs, instance, context);
  }
}
