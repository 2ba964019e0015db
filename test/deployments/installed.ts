import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { freePort } from "../engines/support.js";
import { type Installation, type InstallationOptions, openInstallation } from "../support/installation.js";
import { until } from "../support/until.js";

export interface Database {
  readonly id: string;
  readonly name: string;
  readonly port: number;
  readonly region: string;
  readonly connectionUrl: string;
  readonly status: { readonly state: string; readonly underIncident: boolean };
}

/** What is answered to a command, with the ids of what it makes. */
export interface Accepted {
  readonly operationId: string;
  readonly databaseId?: string;
  readonly snapshotId?: string;
  readonly exportId?: string;
}

export interface Done extends Accepted {
  readonly id: string;
  readonly operationType: string;
  readonly status: string;
  readonly error?: string | null;
  readonly steps: readonly { readonly name: string; readonly message: string | null }[];
}

/** A Gatehouse with the region `here` on this machine: its folder and its ports are the test file's own. And one `there`. */
export interface Databases {
  readonly gatehouse: Installation;
  /** The region's. */
  readonly folder: string;
  /** What GATEHOUSE_CONFIG names. */
  readonly config: string;
  /** Waits until a worker has said that both regions can run an engine. */
  offers(engine: string): Promise<void>;
  list(): Promise<readonly Database[]>;
  /** With the whole connection URL. */
  read(id: string): Promise<Database>;
  /** Makes one and waits until it serves. */
  create(engine: string, name: string): Promise<Database>;
  /** Does a command, waits for its end and tells of it. */
  done(command: string, id: string, body?: unknown): Promise<Done>;
  /** The same for an import; with 0 seconds it is not waited for. */
  importFile(id: string, archive: Buffer, seconds?: number): Promise<Done>;
  /** Starts a command, and what it is answered at once. */
  ask(command: string, id: string, body?: unknown): Promise<Accepted>;
  /** What a route answers, as it is. */
  download(path: string): Promise<Buffer>;
  /** The process id of its server, as its place says; null where none was started. */
  serverOf(id: string): Promise<number | null>;
  /** Processes, listening ports and folders that no running or paused database accounts for. */
  strays(): Promise<readonly string[]>;
  /** Terminates all, which must leave nothing. */
  close(): Promise<void>;
}

const PORTS = 40;
/** Of the region `there`, above those. */
const MORE = 10;

export async function openDatabases(options: InstallationOptions = {}): Promise<Databases> {
  const home = await mkdtemp(join(tmpdir(), "gatehouse-deployments-"));
  // As root the servers run as other users, who must get to their data.
  await chmod(home, 0o711);
  const from = Math.min(await freePort(), 65_535 - PORTS - MORE);
  const ports = { from, to: from + PORTS };
  const users = { first: 1_000_000 + from * 1_000, last: 1_000_999 + from * 1_000 };
  const folder = join(home, "regions");
  const config = join(home, "config.yaml");
  await writeFile(
    config,
    `regions:
  here:
    ports: ${ports.from}-${ports.to}
    substrate: { type: process, folder: ${folder}, firstUid: ${users.first} }
  there:
    ports: ${ports.to + 1}-${ports.to + MORE}
    substrate: { type: process, folder: ${join(home, "there")} }
`,
  );
  const gatehouse = await openInstallation({
    ...options,
    env: { GATEHOUSE_CONFIG: config, ...options.env },
  });
  const headers = { prefer: "wait=60" };

  const list = async (): Promise<readonly Database[]> =>
    (await gatehouse.call<readonly Database[]>("GET", "/deployments/databases")).body;
  const read = async (id: string): Promise<Database> =>
    (await gatehouse.call<Database>("GET", `/databases/${id}?reveal=true`)).body;
  const serverOf = async (id: string): Promise<number | null> => {
    const text = await readFile(join(folder, "control", id, "server.pid"), "utf8").catch(() => "");
    return Number.parseInt(text, 10) || null;
  };

  return {
    ...{ gatehouse, folder, config, list, read, serverOf },
    async offers(engine) {
      await until(`the regions offer ${engine}`, async () => {
        const { body } = await gatehouse.call<readonly { engine: string; regions: readonly string[] }[]>(
          "GET",
          "/deployments/versions",
        );
        // Each region says so by itself.
        const regions = body.filter((one) => one.engine === engine).flatMap((one) => one.regions);
        return ["here", "there"].every((region) => regions.includes(region));
      });
    },
    async create(engine, name) {
      const made = await gatehouse.call<{ database: Database }>("POST", `/deployments/databases/${engine}`, {
        body: { name, plan: "ds1", region: "here" },
        headers,
      });
      expect(made.status, made.text).toBe(200);
      expect(made.body.database.status.state).toBe("running");
      return read(made.body.database.id);
    },
    async done(command, id, body) {
      const answer = await gatehouse.call<Done>("PUT", `/databases/${id}/${command}`, {
        ...(body === undefined ? {} : { body }),
        headers,
      });
      expect(answer.status, answer.text).toBe(200);
      return answer.body;
    },
    async ask(command, id, body) {
      const answer = await gatehouse.call<Accepted>("PUT", `/databases/${id}/${command}`, {
        ...(body === undefined ? {} : { body }),
      });
      expect(answer.status, answer.text).toBe(202);
      return answer.body;
    },
    async importFile(id, archive, seconds = 60) {
      const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="archive"\r\n\r\n';
      const answer = await gatehouse.call<Done>("PUT", `/databases/${id}/import`, {
        headers: { prefer: `wait=${seconds}`, "content-type": "multipart/form-data; boundary=b" },
        raw: Buffer.concat([Buffer.from(head), archive, Buffer.from("\r\n--b--\r\n")]),
      });
      expect(answer.status, answer.text).toBe(seconds === 0 ? 202 : 200);
      return answer.body;
    },
    async download(path) {
      const answer = await fetch(`${gatehouse.origin}${path}`, {
        headers: { authorization: `Bearer ${await gatehouse.token()}` },
      });
      expect(answer.status).toBe(200);
      return Buffer.from(await answer.arrayBuffer());
    },
    async strays() {
      const living = await list();
      const running = living.filter(({ status }) => status.state === "running");
      const servers = new Set(await Promise.all(running.map(({ id }) => serverOf(id))));
      return [
        ...(await processesOf(folder, users)).filter(
          ({ lineage }) => !lineage.some((pid) => servers.has(pid)),
        ),
        ...(await listening(ports)).filter((port) => !running.some((one) => one.port === port)),
        ...(await foldersOf(folder)).filter((path) => !living.some(({ id }) => path === id)),
      ].map((one) => (typeof one === "object" ? `process ${one.command}` : String(one)));
    },
    async close() {
      // A recovery may still hold one.
      await until(
        "all are terminated",
        async () => {
          const left = await list();
          for (const { id } of left) {
            const body = { finalSnapshot: false };
            await gatehouse.call("PUT", `/databases/${id}/terminate`, { body, headers });
          }
          return left.length === 0;
        },
        90_000,
      );
      expect(await readdir(join(folder, "places"))).toEqual([]);
      await gatehouse.close();
      await rm(home, { recursive: true, force: true });
    },
  };
}

interface Process {
  readonly command: string;
  /** Its id, its parent's, and so on. */
  readonly lineage: readonly number[];
}

/** What runs as one of the region's users, or names its folder. */
async function processesOf(folder: string, users: { first: number; last: number }): Promise<Process[]> {
  const found = new Map<number, { parent: number; command: string; isOurs: boolean }>();
  for (const pid of (await readdir("/proc")).map(Number).filter((name) => name > 0)) {
    const [status, words] = await Promise.all([procFile(pid, "status"), procFile(pid, "cmdline")]);
    const uid = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]);
    const command = words.replaceAll("\0", " ").trim();
    const isOurs = (users.first <= uid && uid <= users.last) || command.includes(folder);
    found.set(pid, { parent: Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]), command, isOurs });
  }
  const lineageOf = (pid: number): number[] => {
    const parent = found.get(pid)?.parent ?? 0;
    return [pid, ...(parent > 1 ? lineageOf(parent) : [])];
  };
  return [...found].flatMap(([pid, { command, isOurs }]) =>
    isOurs ? [{ command: `${pid} ${command}`, lineage: lineageOf(pid) }] : [],
  );
}

function procFile(pid: number, name: string): Promise<string> {
  return readFile(`/proc/${pid}/${name}`, "utf8").catch(() => "");
}

/** Ports of the range on which something listens (proc_net_tcp(5): state 0A). */
async function listening({ from, to }: { from: number; to: number }): Promise<number[]> {
  const text = await readFile("/proc/net/tcp", "utf8");
  const ports = [...text.matchAll(/^ *\d+: \w+:(\w{4}) \w+:\w+ 0A /gm)].map(([, port = ""]) =>
    parseInt(port, 16),
  );
  return [...new Set(ports)].filter((port) => from <= port && port <= to);
}

/** Places by their ids, and what is in them besides what every place has. */
async function foldersOf(folder: string): Promise<string[]> {
  const places = await readdir(join(folder, "places"));
  const usual =
    /^(volume|tmp|run|server\.log(\.1)?)$|^volume\/(cluster|conf|import|temp|current|data-\d+-\d+(-new)?)$/;
  const inside = async (id: string, path: string): Promise<string[]> =>
    (await readdir(join(folder, "places", id, path)).catch(() => [])).map((name) =>
      path === "" ? name : `${path}/${name}`,
    );
  const found = await Promise.all(
    places.map(async (id) => {
      const all = [...(await inside(id, "")), ...(await inside(id, "volume"))];
      const data = all.filter((name) => name.startsWith("volume/data-"));
      return [
        id,
        ...[...all.filter((name) => !usual.test(name)), ...data.slice(1)].map((name) => `${id}/${name}`),
      ];
    }),
  );
  return found.flat();
}
