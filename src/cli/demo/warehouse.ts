import pg from "pg";
import { messageOf } from "../../platform/errors.js";
import { newSecret } from "../../platform/ids.js";
import { DemoError } from "./api.js";

/** Role and database of the demo on the embedded server. */
const NAME = "gatehouse_demo";

/** The PostgreSQL database that the demo writes to. */
export class Warehouse {
  /** As its owner: what the destination is configured with. */
  readonly url: URL;
  /** Null where the database is not the demo's. */
  readonly #adminUrl: URL | null;
  /** Whether an earlier demo may have left something in it. */
  #used = true;

  private constructor(url: URL, adminUrl: URL | null) {
    this.url = url;
    this.#adminUrl = adminUrl;
  }

  /** A database of the user's own; the demo makes nothing there but its table. */
  static given(url: URL): Warehouse {
    return new Warehouse(url, null);
  }

  /**
   * A database and a role on the embedded server that can do nothing else there, made where they are missing.
   * The role gets a new password every time, so none has to be kept.
   */
  static async onEmbeddedServer(adminUrl: URL): Promise<Warehouse> {
    const url = new URL(adminUrl);
    Object.assign(url, { username: NAME, password: newSecret(), pathname: `/${NAME}` });
    const warehouse = new Warehouse(url, adminUrl);
    await query(adminUrl, async (client) => {
      const role = await client.query("SELECT FROM pg_roles WHERE rolname = $1", [NAME]);
      const rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";
      const verb = role.rowCount === 0 ? "CREATE" : "ALTER";
      await client.query(`${verb} ROLE ${NAME} ${rights} PASSWORD ${client.escapeLiteral(url.password)}`);
      const database = await client.query("SELECT FROM pg_database WHERE datname = $1", [NAME]);
      warehouse.#used = database.rowCount !== 0;
      if (!warehouse.#used) await make(client);
    });
    return warehouse;
  }

  /** What the destination's connector is configured with. */
  get config() {
    const { hostname, port, pathname, username, password, searchParams } = this.url;
    const mode = searchParams.get("sslmode");
    return {
      host: hostname.replace(/^\[(.*)\]$/, "$1"),
      port: Number(port || 5432),
      database: decodeURIComponent(pathname.slice(1)),
      username: decodeURIComponent(username),
      password: decodeURIComponent(password),
      ...(mode === null ? {} : { ssl: { mode } }),
    };
  }

  /** Throws away what an earlier job of the demo left: a new job does not replace tables that are not its own. */
  async empty(): Promise<void> {
    const admin = this.#adminUrl;
    if (admin === null || !this.#used) return;
    await query(admin, async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${NAME} WITH (FORCE)`);
      await make(client);
    });
  }

  async count(table: string): Promise<number> {
    return query(this.url, async (client) => {
      const { rows } = await client.query<{ count: string }>(
        `SELECT count(*) FROM ${client.escapeIdentifier(table)}`,
      );
      return Number(rows[0]?.count);
    });
  }
}

async function make(client: pg.Client): Promise<void> {
  await client.query(`CREATE DATABASE ${NAME} OWNER ${NAME}`);
  await client.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${NAME} FROM public`);
}

async function query<T>(url: URL, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url.href });
  client.on("error", () => {}); // told by the query that it breaks
  try {
    await client.connect();
    return await work(client);
  } catch (error) {
    throw new DemoError(`the database at ${url.host} cannot be used: ${messageOf(error)}`, error);
  } finally {
    await client.end().catch(() => {});
  }
}
