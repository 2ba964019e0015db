import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Observed } from "../../src/engines/engine.js";
import type { GraphPrograms } from "../../src/engines/graph/programs.js";
import * as graph from "../../src/engines/graph/settings.js";
import type { PostgresPrograms } from "../../src/engines/postgres/programs.js";
import * as postgres from "../../src/engines/postgres/settings.js";
import { changingUser } from "../../src/engines/process/tool.js";
import { namedAccount } from "../../src/engines/process/users.js";
import { freePort } from "../../test/acceptance/server.js";
import { query } from "../../test/support/query.js";
import type { Installed } from "./databases.js";
import { cypher } from "./graphs.js";

/** A server that somebody starts by hand: the binary and the settings of a deployment, and a folder of its own. */
export interface ByHand {
  /** Where its customer reaches it. */
  readonly url: string;
  /** The same, for whom its settings give all rights. */
  readonly adminUrl: string;
  readonly data: string;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it and removes its folder. */
  remove(): Promise<void>;
}

const CREDENTIALS = {
  username: "app",
  password: "a-password-of-somebody",
  adminSecret: "the-secret-of-the-administrator",
};

/** An empty graph that answers; `changes` are made to the lines of its configuration. */
export async function startGraph(
  { server, module }: GraphPrograms,
  plan: Installed["plan"],
  changes: Readonly<Record<string, string>> = {},
): Promise<ByHand> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-by-hand-"));
  const observed = await observe(folder, plan);
  const { port, listen: addresses } = observed.place;
  const [data, users, file] = [join(folder, "data"), join(folder, "users.acl"), join(folder, "server.conf")];
  await mkdir(data);
  await writeFile(users, graph.accounts(CREDENTIALS, "none"));
  const paths = { module, data, users, imports: data, temp: data };
  let text = graph.configuration(observed, paths, { port, addresses });
  for (const [from, to] of Object.entries(changes)) text = text.replace(from, to);
  await writeFile(file, text);
  const { username, password, adminSecret } = CREDENTIALS;
  const url = `redis://${username}:${password}@127.0.0.1:${port}`;
  const adminUrl = `redis://${graph.ADMIN}:${adminSecret}@127.0.0.1:${port}`;
  const answers = async (): Promise<void> => void (await cypher(url, "RETURN 1"));
  return byHand({ url, adminUrl, data, folder, words: [server, file], signal: "SIGTERM", answers });
}

/** An empty cluster, with the account and the database of its customer, that answers. */
export async function startPostgres(
  { initdb, postgres: program }: PostgresPrograms,
  plan: Installed["plan"],
): Promise<ByHand> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-by-hand-"));
  await chmod(folder, 0o711);
  const observed = await observe(folder, plan);
  const { socketFolder, port } = observed.place;
  const [data, secret] = [join(folder, "data"), join(folder, "secret")];
  const { ADMIN } = postgres;
  // Root is refused.
  const account = process.getuid?.() === 0 ? namedAccount() : { uid: undefined, gid: undefined };
  const user = changingUser(account);
  await writeFile(secret, `${CREDENTIALS.adminSecret}\n`);
  for (const path of [data, socketFolder]) await mkdir(path, { recursive: true, mode: 0o700 });
  for (const path of [data, socketFolder, secret])
    if (account.uid !== undefined) await chown(path, account.uid, account.gid);
  const options = ["-E", "UTF8", "--locale=C.UTF-8", "--data-checksums", "--auth=scram-sha-256"];
  await run([...user, initdb, "-D", data, "-U", ADMIN, ...options, `--pwfile=${secret}`]);
  await writeFile(join(data, "postgresql.conf"), postgres.configuration(observed));
  await writeFile(join(data, "pg_hba.conf"), postgres.access(observed));
  const adminUrl = `postgresql://${ADMIN}:${CREDENTIALS.adminSecret}@/postgres?host=${socketFolder}&port=${port}`;
  const { username, password } = CREDENTIALS;
  const url = `postgresql://${username}:${password}@127.0.0.1:${port}/${username}`;
  const answers = async (): Promise<void> => void (await query(adminUrl, "SELECT 1"));
  const made = await byHand({
    url,
    adminUrl,
    data,
    folder,
    words: [...user, program, "-D", data],
    signal: "SIGINT",
    answers,
  });
  await query(adminUrl, `CREATE ROLE ${username} LOGIN PASSWORD '${password}'`);
  await query(adminUrl, `CREATE DATABASE ${username} OWNER ${username} TEMPLATE template0`);
  return made;
}

/** What a deployment's settings are made of. */
async function observe(folder: string, { connections, ...limits }: Installed["plan"]): Promise<Observed> {
  const port = await freePort();
  const never = () => Promise.reject(new Error("there is no place"));
  const where = { port, host: "127.0.0.1", listen: ["127.0.0.1"], socketFolder: join(folder, "run") };
  const place = {
    ...where,
    id: randomUUID(),
    limits,
    status: never,
    memory: never,
    logs: never,
    size: never,
  };
  return { id: place.id, version: "", plan: { connections }, credentials: CREDENTIALS, place };
}

interface Words extends Pick<ByHand, "url" | "adminUrl" | "data"> {
  readonly folder: string;
  readonly words: readonly string[];
  readonly signal: NodeJS.Signals;
  /** Rejects while it does not. */
  readonly answers: () => Promise<void>;
}

/** Between two looks whether it answers. */
const LOOK_MS = 5;

async function byHand({ url, adminUrl, data, folder, words, signal, answers }: Words): Promise<ByHand> {
  let child = launch(words);
  const untilAnswers = async (): Promise<void> => {
    while (
      !(await answers().then(
        () => true,
        () => false,
      ))
    ) {
      if (child.exitCode !== null) throw new Error(`${words.join(" ")} has ended with ${child.exitCode}`);
      await delay(LOOK_MS);
    }
  };
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  };
  await untilAnswers();
  return {
    ...{ url, adminUrl, data, stop },
    async start() {
      child = launch(words);
      await untilAnswers();
    },
    async remove() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function launch([command = "", ...args]: readonly string[]) {
  return spawn(command, args, { cwd: "/", stdio: "ignore" });
}

async function run(words: readonly string[]): Promise<void> {
  const child = launch(words);
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`${words.join(" ")} has ended with ${code}`);
}
