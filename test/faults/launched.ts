import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clusterName } from "../../src/embedded/leftovers.js";
import { serverProcesses } from "../../src/embedded/processes.js";
import { lifeOf } from "../../src/platform/processes.js";
import { freePort, spawnRole, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";

/** Making a database cluster takes a while on a busy machine. */
export const START_LIMIT_MS = 90_000;

const CLIENT = { client_id: "administrator", client_secret: "the secret of the tests' administrator" };

/** A home folder with a port: launchers are started and killed on it. */
export interface Home {
  readonly port: number;
  readonly path: string;
  launch(): TestProcess;
  /** Waits until this launcher's api answers and its worker works: a token, and a question that a worker answers. */
  works(launcher: TestProcess): Promise<void>;
  /** Every live process of this home, whoever started it: launcher, api, worker, and of the database. */
  processes(): Promise<LiveProcess[]>;
  /** Waits until the role's process is another one than before. */
  replaced(launcher: TestProcess, before: LiveProcess): Promise<void>;
  close(): Promise<void>;
}

export interface LiveProcess {
  readonly role: string;
  readonly pid: number;
  readonly life: string;
}

export async function createHome(): Promise<Home> {
  const path = await mkdtemp(join(tmpdir(), "gatehouse-launched-"));
  // As root the database runs as another user, who must get to its data.
  await chmod(path, 0o755);
  const port = await freePort();
  const launchers: TestProcess[] = [];
  const known = new Map<string, LiveProcess>();

  const processes = async (): Promise<LiveProcess[]> => {
    for (const launcher of launchers) {
      note(known, "launcher", launcher.pid);
      for (const { role, pid } of launcher.entries()) {
        if (role !== undefined && pid !== undefined) note(known, role, pid);
      }
    }
    const data = join(path, "postgres/data");
    const postmaster = Number.parseInt(
      await readFile(join(data, "postmaster.pid"), "utf8").catch(() => ""),
      10,
    );
    if (postmaster > 0) note(known, "database", postmaster);
    return [...known.values()].filter(({ pid, life }) => lifeOf(pid) === life);
  };

  const answers = async (launcher: TestProcess): Promise<boolean> => {
    if (!launcher.isRunning()) throw new Error(`the launcher has ended:\n${launcher.output()}`);
    const origin = `http://127.0.0.1:${port}`;
    const json = { "content-type": "application/json" };
    const signal = AbortSignal.timeout(15_000);
    const token = await fetch(`${origin}/oauth/token`, {
      method: "POST",
      headers: json,
      body: JSON.stringify({ grant_type: "client_credentials", ...CLIENT }),
      signal,
    });
    if (!token.ok) return false;
    const { access_token } = (await token.json()) as { access_token: string };
    const check = await fetch(`${origin}/api/v1/project/1/sources/test`, {
      method: "POST",
      headers: { ...json, authorization: `Bearer ${access_token}` },
      body: JSON.stringify({ type: "file", version: "1.0.0", config: { path: "examples/customers.csv" } }),
      signal,
    });
    return check.ok && (await check.text()).toLowerCase().includes("succe");
  };

  return {
    port,
    path,
    processes,
    launch() {
      const launcher = spawnRole("all", {
        GATEHOUSE_HOME: path,
        PORT: String(port),
        BOOTSTRAP_CLIENT_ID: CLIENT.client_id,
        BOOTSTRAP_CLIENT_SECRET: CLIENT.client_secret,
        // Looking for engines of databases takes a second.
        GATEHOUSE_REGIONS: "none",
      });
      launchers.push(launcher);
      return launcher;
    },
    works: (launcher) =>
      until(
        "the installation works",
        () => answers(launcher).catch(unlessEnded(launcher)),
        START_LIMIT_MS,
      ).then(() => {}),
    replaced: async (launcher, before) => {
      await until(
        `another ${before.role} runs`,
        async () => (await processes()).some(({ role, pid }) => role === before.role && pid !== before.pid),
        START_LIMIT_MS,
      );
      if (!launcher.isRunning()) throw new Error("the launcher has ended");
    },
    async close() {
      for (const { pid, life } of await processes()) if (lifeOf(pid) === life) process.kill(pid, "SIGKILL");
      await until("nothing runs", async () => (await processes()).length === 0);
      const name = await clusterOf(path);
      if (name !== null) await until("nor of the database", () => serverProcesses(name).length === 0);
      await rm(path, { recursive: true, force: true });
    },
  };
}

/** The name of the embedded server's processes; null where there is none yet. */
export async function clusterOf(path: string): Promise<string | null> {
  try {
    return clusterName(join(path, "postgres/data"));
  } catch {
    return null;
  }
}

function unlessEnded(launcher: TestProcess): (error: unknown) => false {
  return (error) => {
    if (!launcher.isRunning()) throw error;
    return false;
  };
}

function note(known: Map<string, LiveProcess>, role: string, pid: number): void {
  const key = `${role} ${pid}`;
  const life = lifeOf(pid);
  if (life !== undefined && !known.has(key)) known.set(key, { role, pid, life });
}
