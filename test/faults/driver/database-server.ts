import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { clusterName } from "../../../src/embedded/leftovers.js";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../../src/embedded/postgres.js";
import { serverProcesses } from "../../../src/embedded/processes.js";
import { until } from "../../support/until.js";

/** A PostgreSQL server of a round's own, which can be killed and started again with its data. */
export interface DatabaseServer {
  port(): number;
  /** As the superuser. */
  url(database: string): string;
  /** Rows of one statement, as the superuser, on a connection of its own. */
  query<R extends object>(database: string, text: string, values?: unknown[]): Promise<R[]>;
  /** `kill -9` of all its processes. Says whether it ran. */
  kill(): Promise<boolean>;
  /** Starts it where it does not run. */
  start(): Promise<void>;
  /** Stops it and removes its data; says which of its processes are left. */
  close(): Promise<number[]>;
}

export async function createDatabaseServer(): Promise<DatabaseServer> {
  const home = await mkdtemp(join(tmpdir(), "gatehouse-faults-"));
  // As root the server runs as another user, who must get to its data.
  await chmod(home, 0o755);
  let server: EmbeddedPostgres | null = await startEmbeddedPostgres({ home, log: () => {} });
  let last = server;
  // Else the start after a kill syncs every single file first, which takes minutes on a busy disk.
  await run(last.adminUrl, "ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'");
  const name = clusterName(join(home, "postgres/data"));
  const url = (database: string): string => {
    const parsed = new URL(last.adminUrl);
    parsed.pathname = `/${database}`;
    return parsed.href;
  };
  return {
    port: () => last.port,
    url,
    query: (database, text, values = []) => run(url(database), text, values),
    async kill() {
      if (server === null) return false;
      // The first process first: it would end the others in order, and start them again.
      const processes = serverProcesses(name).sort((a, b) => Number(b.postmaster) - Number(a.postmaster));
      for (const { pid } of processes) kill(pid);
      await server.exited;
      await until("no process of PostgreSQL is left", () => serverProcesses(name).length === 0);
      server = null;
      return true;
    },
    async start() {
      if (server !== null) return;
      server = await startEmbeddedPostgres({ home, log: () => {} });
      last = server;
    },
    async close() {
      await server?.stop();
      const left = serverProcesses(name).map(({ pid }) => pid);
      await rm(home, { recursive: true, force: true });
      return left;
    },
  };
}

async function run<R extends object>(url: string, text: string, values: unknown[] = []): Promise<R[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query<R>(text, values)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
