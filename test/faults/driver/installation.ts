import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MasterKey } from "../../../src/platform/crypto.js";
import { freePort } from "../../support/processes.js";
import { createRedis, type TestRedis } from "../../support/redis.js";
import { ApiClient } from "./client.js";
import { createDatabaseServer, type DatabaseServer } from "./database-server.js";
import { makeWarehouse } from "./destinations.js";
import { Counts, Findings } from "./findings.js";
import { createJobs } from "./jobs.js";
import { Journal } from "./journal.js";
import { Member } from "./member.js";
import type { Random } from "./random.js";
import { CONTROL, type Site } from "./site.js";
import { makeSources } from "./sources.js";
import { openTcpProxy, type TcpProxy } from "./tcp-proxy.js";
import { TICKS_TABLE } from "./ticks.js";
import { openWitness, type Witness } from "./witness.js";

const READY_LIMIT_MS = 180_000;
const CLIENT = { client_id: "administrator", client_secret: "the secret of the tests' administrator" };

/** A site that can be closed. */
export interface OpenSite extends Site {
  /** Ends and removes everything; ids of processes that did not end. */
  close(): Promise<number[]>;
}

/** Starts PostgreSQL, Redis where it is asked for, two api and two worker processes, with jobs and their stores. */
export async function openSite(backend: "postgres" | "redis", random: Random): Promise<OpenSite> {
  const home = await mkdtemp(join(tmpdir(), "gatehouse-site-"));
  // As root its databases run as other users, who must get to their data: else that is outside, and stays there.
  await chmod(home, 0o711);
  const filesRoot = join(home, "files");
  await mkdir(filesRoot);
  const server = await createDatabaseServer();
  const redis = backend === "redis" ? await createRedis() : null;
  await redis?.start();
  const findings = new Findings();
  const faults = new Counts();
  const redisProxy = redis === null ? null : await openTcpProxy(() => Number(new URL(redis.url).port));
  const env = {
    PUBLIC_URL: "https://gatehouse.example",
    GATEHOUSE_MASTER_KEY: MasterKey.generate(),
    GATEHOUSE_HOME: home,
    FILES_ROOT: filesRoot,
    // Looking for engines of databases takes a second.
    GATEHOUSE_REGIONS: "none",
    OUTBOUND_ALLOW: "loopback",
    BOOTSTRAP_CLIENT_ID: CLIENT.client_id,
    BOOTSTRAP_CLIENT_SECRET: CLIENT.client_secret,
    RATE_LIMIT_REQUESTS: "0",
    ...(redisProxy === null ? {} : { REDIS_URL: `redis://127.0.0.1:${redisProxy.port}` }),
  };
  const members: Member[] = [];
  for (const [role, name] of MEMBERS) {
    members.push(await createMember({ role, name, env, server, findings, counts: faults }));
  }
  const storeProxy = await openTcpProxy(server.port);
  await makeSources(server, filesRoot);
  await makeWarehouse(server);
  for (const member of members) {
    member.start();
    // One after the other: the first makes the tables.
    await member.ready(READY_LIMIT_MS);
  }
  const answers = new Counts();
  const ports = members.flatMap(({ front }) => (front === null ? [] : [front.port]));
  const api = new ApiClient(ports, CLIENT, findings, answers);
  await api.renewToken(random);
  const stores = { server, port: () => storeProxy.port, filesRoot };
  const jobs = await createJobs(api, stores, random);
  await server.query(CONTROL, TICKS_TABLE);
  const witness = await openWitness(api, random);
  return {
    ...{ server, redis, redisProxy, storeProxy, members, stores, jobs, api, witness },
    ...{ journal: new Journal(findings), findings, faults, answers, outcomes: new Counts() },
    close: () => close({ home, server, redis, members, proxies: [storeProxy, redisProxy], api, witness }),
  };
}

const MEMBERS = [
  ["api", "api-1"],
  ["api", "api-2"],
  ["worker", "worker-1"],
  ["worker", "worker-2"],
] as const;

interface MemberPlan {
  readonly role: "api" | "worker";
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  readonly server: DatabaseServer;
  readonly findings: Findings;
  readonly counts: Counts;
}

async function createMember({ role, name, env, server, findings, counts }: MemberPlan): Promise<Member> {
  const database = await openTcpProxy(server.port);
  const url = new URL(server.url(CONTROL));
  url.port = String(database.port);
  const own = { ...env, DATABASE_URL: url.href };
  if (role === "worker") return new Member({ name, role, env: own, database, front: null, findings, counts });
  const port = await freePort();
  const front = await openTcpProxy(() => port);
  const options = { name, role, database, front, findings, counts };
  return new Member({ ...options, env: { ...own, PORT: String(port) } });
}

interface Parts {
  readonly home: string;
  readonly server: DatabaseServer;
  readonly redis: TestRedis | null;
  readonly members: readonly Member[];
  readonly proxies: readonly (TcpProxy | null)[];
  readonly api: ApiClient;
  readonly witness: Witness;
}

async function close({ home, server, redis, members, proxies, api, witness }: Parts): Promise<number[]> {
  api.close();
  await Promise.all(members.map((member) => member.destroy()));
  await witness.close();
  for (const proxy of proxies) await proxy?.close();
  await redis?.close();
  const left = await server.close();
  await rm(home, { recursive: true, force: true });
  return [...left, ...members.flatMap((member) => member.pids())];
}
