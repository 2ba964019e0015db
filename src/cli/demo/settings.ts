import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Config, loadConfig } from "../../config.js";
import { DemoError } from "./api.js";

export type Env = Readonly<Record<string, string | undefined>>;

/** What the demo has to know of the installation that it runs against. */
export interface DemoSettings {
  readonly config: Config;
  /** A client of the user's choice; null: the demo makes one of its own. */
  readonly client: { readonly clientId: string; readonly clientSecret: string } | null;
  /** A database of the user's choice to write to; null: one on the embedded server. */
  readonly destinationUrl: URL | null;
}

/**
 * Reads the same environment as the server. Throws a DemoError that names everything that is missing: with a
 * DATABASE_URL there is no embedded server on which the demo could make a client and a database of its own.
 */
export function readSettings(env: Env, cwd: string): DemoSettings {
  const config = loadConfig(env, cwd);
  const clientId = textOf(env, "CLIENT_ID");
  const clientSecret = textOf(env, "CLIENT_SECRET");
  const destination = textOf(env, "DEMO_DATABASE_URL");
  const wanted: string[] = [];
  if ((clientId === null) !== (clientSecret === null)) {
    wanted.push("CLIENT_ID and CLIENT_SECRET belong together: set both or none");
  }
  if (config.databaseUrl !== null) {
    if (clientId === null) {
      wanted.push("CLIENT_ID and CLIENT_SECRET: a client that may write sources, destinations and jobs");
    }
    if (destination === null) {
      wanted.push(
        "DEMO_DATABASE_URL: a PostgreSQL database for the demo to write the table customers to, not Gatehouse's own",
      );
    }
  }
  if (wanted.length > 0) {
    const where = config.databaseUrl === null ? "" : " (with DATABASE_URL there is no embedded database)";
    throw new DemoError(`not everything is set that the demo needs${where}:\n  - ${wanted.join("\n  - ")}`);
  }
  return {
    config,
    client: clientId === null || clientSecret === null ? null : { clientId, clientSecret },
    destinationUrl: destination === null ? null : urlOf(destination),
  };
}

function textOf(env: Env, name: string): string | null {
  const text = env[name]?.trim();
  return text === undefined || text === "" ? null : text;
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && /^postgres(ql)?:$/.test(url.protocol) && url.pathname.length > 1) return url;
  throw new DemoError("DEMO_DATABASE_URL must be postgresql://user:password@host:port/database");
}

/** The superuser's URL of the embedded server, which only the user that started it can read. */
export async function embeddedAdminUrl(config: Config): Promise<URL> {
  const file = join(config.home, "postgres/admin-url");
  try {
    return new URL((await readFile(file, "utf8")).trim());
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      code === "EACCES"
        ? "belongs to another user: run the demo as the user that started Gatehouse"
        : "is not there: run the demo in the folder and with the GATEHOUSE_HOME of the Gatehouse that is running";
    throw new DemoError(
      `${file} ${why}, or set CLIENT_ID, CLIENT_SECRET and DEMO_DATABASE_URL instead.`,
      error,
    );
  }
}
