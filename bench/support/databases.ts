import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, openDatabases } from "../../test/acceptance/databases.js";
import { build, freePort, startBuiltServer } from "../../test/acceptance/server.js";
import { until } from "../../test/support/until.js";
import { workerOf } from "./processes.js";

/** What the benchmarks' databases may use: as much as none of them needs. */
const PLAN = { memoryBytes: 4 * 1024 ** 3, storageBytes: 16 * 1024 ** 3, connections: 50 } as const;
const PORTS = 99;
const PLAN_NAME = "bench";

/** What an operation of the deployments API says at its end. */
interface Ended {
  readonly id: string;
  readonly status: string;
  readonly error?: string | null;
  readonly durationInSeconds: number | null;
}

interface RegionAnswer {
  readonly engines: readonly { readonly engine: string; readonly missing: string | null }[];
}

/** Gatehouse as it is installed: launcher, api and worker in processes of their own, with a region and a plan. */
export interface Installed {
  readonly url: string;
  readonly token: string;
  readonly plan: typeof PLAN;
  /** The worker's process id. */
  readonly worker: number;
  /** Whether the region can run an engine; where it cannot, that is said. */
  offers(engine: string): Promise<boolean>;
  list(): Promise<readonly Database[]>;
  /** Makes one and resolves when it serves, with its whole connection URL. */
  create(engine: string, name: string): Promise<Database>;
  /** Does a command to its end; throws unless it succeeds. */
  done(command: string, id: string, body?: object): Promise<void>;
  /** Replaces the data by an archive; resolves to how long that took after it was sent, seconds. */
  importArchive(id: string, archive: AsyncIterable<Uint8Array>): Promise<number>;
  close(): Promise<void>;
}

export async function openInstalled(): Promise<Installed> {
  build();
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-bench-config-"));
  const from = Math.min(await freePort(), 65_535 - PORTS);
  const { memoryBytes: memory, storageBytes: storage, connections } = PLAN;
  const sections = {
    regions: { here: { ports: `${from}-${from + PORTS}` } },
    plans: { [PLAN_NAME]: { memory, storage, connections } },
  };
  await writeFile(join(folder, "config.yaml"), JSON.stringify(sections));
  const server = await startBuiltServer({ GATEHOUSE_CONFIG: join(folder, "config.yaml") });
  const databases = await openDatabases(server);
  const { call, read, token } = databases;

  const ended = async (database: string, { id }: Ended): Promise<Ended> => {
    for (;;) {
      const now = await call<Ended>("GET", `/databases/${database}/operations/${id}`);
      if (now.status === "finished") return now;
      if (now.status === "failed") throw new Error(`operation ${id} has failed: ${now.error}`);
    }
  };

  return {
    ...{ url: server.url, token, plan: PLAN, worker: workerOf(server.pid) },
    async offers(engine) {
      const { missing } = await until(`the region knows of ${engine}`, async () => {
        const [region] = await call<readonly RegionAnswer[]>("GET", "/deployments/regions");
        return region?.engines.find((one) => one.engine === engine) ?? null;
      });
      if (missing !== null) console.warn(`nothing is measured of ${engine}: ${missing}`);
      return missing === null;
    },
    list: () => call("GET", "/deployments/databases"),
    async create(engine, name) {
      const body = { name, plan: PLAN_NAME };
      const made = await call<{ database: Database }>("POST", `/deployments/databases/${engine}`, body);
      return read(made.database.id);
    },
    async done(command, id, body) {
      await ended(id, await call<Ended>("PUT", `/databases/${id}/${command}`, body));
    },
    async importArchive(id, archive) {
      const answer = await fetch(`${server.url}/databases/${id}/import`, {
        method: "PUT",
        headers: { authorization: `Bearer ${token}`, "content-type": "multipart/form-data; boundary=b" },
        body: ReadableStream.from(formOf(archive)),
        duplex: "half",
      });
      if (answer.status !== 202) throw new Error(`the archive was not taken: ${await answer.text()}`);
      const { operationId } = (await answer.json()) as { operationId: string };
      return Number((await ended(id, { id: operationId } as Ended)).durationInSeconds);
    },
    async close() {
      await databases.terminateAll();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function* formOf(archive: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield Buffer.from('--b\r\nContent-Disposition: form-data; name="file"; filename="archive"\r\n\r\n');
  yield* archive;
  yield Buffer.from("\r\n--b--\r\n");
}
