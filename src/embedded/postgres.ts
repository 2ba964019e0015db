import { join, resolve } from "node:path";
import { type Binaries, locateBinaries, runnableBinaries } from "./binaries.js";
import { type Credentials, loadCredentials, saveCredentials, writePrivate } from "./credentials.js";
import { adoptData, createData, dataExists, prepareLog, retireData } from "./data-folder.js";
import { adminUrlOf, databaseUrl, ensureDatabase } from "./databases.js";
import { clearLeftovers } from "./leftovers.js";
import { claimLauncher } from "./lock.js";
import { linkPlace, type Place, preparePlace } from "./place.js";
import { choosePort, type Exit, probePort, type Server, spawnServer, untilReady } from "./server.js";

export interface EmbeddedPostgresOptions {
  /** GATEHOUSE_HOME, absolute. */
  home: string;
  /** Gets one line per thing worth knowing. */
  log: (line: string) => void;
}

export interface EmbeddedPostgres {
  /** The database `gatehouse`, as the role `gatehouse` that owns it and is no superuser. */
  url: string;
  /** The superuser, on the database `postgres`. Also in the file `<home>/postgres/admin-url`, mode 0600. */
  adminUrl: string;
  /** On 127.0.0.1. */
  port: number;
  /** Stops the server in order (within 22 s at the latest) and lets others start it. May be called again. */
  stop(): Promise<void>;
  /** Resolves when the server has ended, asked to or not. */
  exited: Promise<Exit>;
}

/**
 * Starts the PostgreSQL server of a home folder and resolves when it is ready for use: about 2 s the first
 * time, well under a second later. Data, passwords and, if possible, the port stay the same between starts.
 *
 * Whatever an earlier launcher left behind when it was killed is cleared first. Throws, with a message meant
 * for people, where another launcher has the folder, where the machine cannot run the server, or where the
 * server does not come up; nothing is left running then.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { log } = options;
  const home = resolve(options.home);
  if (process.platform === "win32") {
    throw new Error("the embedded PostgreSQL needs Linux or macOS: set DATABASE_URL, or use WSL");
  }
  const place = preparePlace(home);
  const release = await claimLauncher(join(place.folder, "launchers"), home);
  let server: Server | undefined;
  try {
    const binaries = runnableBinaries(locateBinaries(), place.account, place.outside);
    if (dataExists(place)) await clearLeftovers(place.data, log);
    if (place.unlinked) {
      log(`${home} is closed to ${place.account?.name}: the database is kept in ${place.folder}`);
      if (dataExists(place)) log(`put aside the database of an earlier ${home}: ${retireData(place)}`);
      linkPlace(place);
    }
    const credentials = loadCredentials(place.folder, dataExists(place));
    if (dataExists(place)) {
      adoptData(place, binaries);
    } else {
      log(`making the database in ${place.data}`);
      await createData(place, binaries, credentials.adminPassword);
    }
    prepareLog(place);
    server = await startOnFreePort(place, binaries, credentials);
    const adminUrl = adminUrlOf(server.port, credentials.adminPassword);
    await ensureDatabase(adminUrl, credentials.password);
    if (server.port !== credentials.port)
      saveCredentials(place.folder, { ...credentials, port: server.port });
    writePrivate(join(place.home, "admin-url"), `${adminUrl}\n`);
    return handle(server, adminUrl, credentials, release);
  } catch (error) {
    await server?.stop();
    release();
    throw error;
  }
}

/** Between looking for a free port and listening on it somebody else may take it: then another one is tried. */
async function startOnFreePort(place: Place, binaries: Binaries, credentials: Credentials): Promise<Server> {
  let remembered = credentials.port;
  for (let attempt = 1; ; attempt++) {
    const port = await choosePort(remembered);
    const server = spawnServer(place, binaries, port);
    try {
      await untilReady(server, adminUrlOf(port, credentials.adminPassword), place);
      return server;
    } catch (error) {
      await server.stop();
      const taken = (await probePort(port)) === undefined;
      if (!taken || attempt === 3) throw error;
      remembered = null;
    }
  }
}

function handle(
  server: Server,
  adminUrl: string,
  credentials: Credentials,
  release: () => void,
): EmbeddedPostgres {
  let stopping: Promise<void> | undefined;
  const exited = server.exited.then((exit) => {
    release();
    return exit;
  });
  const stop = async () => {
    await server.stop();
    release();
  };
  return {
    url: databaseUrl(server.port, credentials.password),
    adminUrl,
    port: server.port,
    exited,
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}
