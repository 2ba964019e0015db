import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { MasterKey } from "../../src/platform/crypto.js";
import { type Databases, openDatabases } from "../deployments/installed.js";
import type { OperationAnswer } from "../support/installation.js";
import { startRole, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";

/** An api in this process, one worker in a process of its own, and the database servers that it starts. */
export interface DatabaseFaults extends Databases {
  /** The one that works now. */
  worker(): TestProcess;
  /** Starts the next worker. */
  startWorker(): Promise<void>;
  /** Waits for an operation's end. */
  ended(operationId: string): Promise<OperationAnswer>;
  /** What the processes below a database's server say that they do. */
  sessionsOf(id: string): Promise<readonly string[]>;
  /** The server in which the worker tries a graph's archive out; null where there is none. */
  trialServer(): Promise<number | null>;
  /** `kill -9`; nothing where there is no such process any more. */
  kill(pid: number | null): void;
}

export async function openDatabaseFaults(): Promise<DatabaseFaults> {
  const masterKey = MasterKey.generate();
  const databases = await openDatabases({ worker: false, env: { GATEHOUSE_MASTER_KEY: masterKey } });
  const { gatehouse, config, serverOf } = databases;
  let worker: TestProcess | null = null;
  const running = (): TestProcess => {
    if (worker === null) throw new Error("no worker was started");
    return worker;
  };
  return {
    ...databases,
    worker: running,
    async startWorker() {
      worker = await startRole("worker", {
        DATABASE_URL: gatehouse.database.url,
        GATEHOUSE_MASTER_KEY: masterKey,
        GATEHOUSE_HOME: join(gatehouse.filesRoot, ".."),
        GATEHOUSE_CONFIG: config,
        GATEHOUSE_LEASE_MS: "2000",
        GATEHOUSE_HEARTBEAT_MS: "200",
        GATEHOUSE_SWEEP_MS: "200",
      });
    },
    ended: (operationId) =>
      until(
        `operation ${operationId} has ended`,
        async () => {
          const { body } = await gatehouse.call<OperationAnswer>("GET", `/api/v1/operations/${operationId}`);
          return body.done ? body : null;
        },
        60_000,
      ),
    async sessionsOf(id) {
      const pid = await serverOf(id);
      return pid === null ? [] : (await childrenOf(pid)).map(({ command }) => command);
    },
    async trialServer() {
      const found = (await childrenOf(running().pid)).find(({ command }) =>
        /(valkey|redis)-server/.test(command),
      );
      return found?.pid ?? null;
    },
    kill(pid) {
      if (pid === null) return;
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    },
  };
}

/** Processes whose parent a process is (proc_tid_children(5): those of its first thread), and their command lines. */
async function childrenOf(pid: number): Promise<{ pid: number; command: string }[]> {
  const read = (path: string) => readFile(`/proc/${path}`, "utf8").catch(() => "");
  const children = (await read(`${pid}/task/${pid}/children`)).split(" ").filter((one) => one.trim() !== "");
  return Promise.all(
    children.map(async (child) => ({
      pid: Number(child),
      command: (await read(`${child}/cmdline`)).replaceAll("\0", " ").trim(),
    })),
  );
}
