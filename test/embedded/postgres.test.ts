import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { isRoot } from "../../src/embedded/account.js";
import { locateBinaries } from "../../src/embedded/binaries.js";
import { clusterName } from "../../src/embedded/leftovers.js";
import { serverProcesses } from "../../src/embedded/processes.js";
import { probePort } from "../../src/embedded/server.js";
import {
  cleanUp,
  isAlive,
  kill,
  launch,
  postmasterOf,
  query,
  start,
  temporaryFolder,
  until,
} from "./support.js";

const LIMIT = { timeout: 60_000 };

afterAll(cleanUp, 60_000);

test("the first start makes a database for a role that can do nothing outside it", LIMIT, async () => {
  const home = temporaryFolder();
  const server = await start(home);
  expect(await query(server.url, "select current_database() || ' ' || current_user")).toBe(
    "gatehouse gatehouse",
  );
  expect(
    await query(
      server.url,
      `select array_agg(p order by p) from pg_roles, unnest(array[rolsuper, rolcreatedb, rolcreaterole,
         rolreplication, rolbypassrls]) p where rolname = current_user`,
    ),
  ).toEqual([false, false, false, false, false]);
  await expect(query(server.url, "create role another")).rejects.toThrow(/permission denied/);
  await expect(query(server.url, "create database another")).rejects.toThrow(/permission denied/);
  await query(server.url, "create schema queue");
  await query(server.url, "create extension pgcrypto schema queue");
  expect(await query(server.url, "select lower('ÄÖ') || current_setting('timezone')")).toBe("äöUTC");
  expect(await query(server.url, "show server_encoding")).toBe("UTF8");
  await expect(query(server.url.replace(/\/gatehouse$/, "/postgres"), "select 1")).rejects.toThrow(
    /permission denied/,
  );
  const name = clusterName(join(home, "postgres/data"));
  expect(serverProcesses(name)).not.toEqual([]);
  await server.stop();
  expect(serverProcesses(name)).toEqual([]);
});

test(
  "the superuser's URL is kept for the owner alone, and other roles cannot enter the database",
  LIMIT,
  async () => {
    const home = temporaryFolder();
    const server = await start(home);
    const file = join(home, "postgres/admin-url");
    const adminUrl = readFileSync(file, "utf8").trim();
    expect(adminUrl).toBe(server.adminUrl);
    expect(await query(adminUrl, "select rolsuper from pg_roles where rolname = current_user")).toBe(true);
    await query(adminUrl, "create role store login password 'store'");
    const asStore = `postgresql://store:store@127.0.0.1:${server.port}/gatehouse`;
    await expect(query(asStore, "select 1")).rejects.toThrow(/permission denied for database/);
    await expect(query(server.url.replace(/:[^:@]+@/, ":wrong@"), "select 1")).rejects.toThrow(/password/);
    for (const name of ["admin-url", "credentials.json"]) {
      expect(statSync(join(home, "postgres", name)).mode & 0o777).toBe(0o600);
    }
    expect(statSync(join(home, "postgres/data")).mode & 0o777).toBe(0o700);
    const commands = spawnSync("ps", ["-axww", "-o", "command="], { encoding: "utf8" }).stdout;
    expect(commands).not.toContain(new URL(adminUrl).password);
    expect(readdirSync(join(home, "postgres"))).not.toContain("initdb-password");
    await server.stop();
  },
);

test("the server listens on the loopback address and nowhere else", LIMIT, async () => {
  const server = await start(temporaryFolder());
  expect(await query(server.adminUrl, "show listen_addresses")).toBe("127.0.0.1");
  expect(await query(server.adminUrl, "show unix_socket_directories")).toBe("");
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const others = addresses.filter((entry) => !entry.internal && entry.family === "IPv4");
  for (const { address } of others) {
    await expect(query(server.url.replace("127.0.0.1", address), "select 1")).rejects.toThrow(/ECONNREFUSED/);
  }
  await server.stop();
});

test("a restart keeps data, port and passwords", LIMIT, async () => {
  const home = temporaryFolder();
  const first = await start(home);
  await query(first.url, "create table kept as select 42 as answer");
  await first.stop();
  expect(await first.exited).toEqual({ code: 0, signal: null });
  const second = await start(home);
  expect(second.url).toBe(first.url);
  expect(await query(second.url, "select answer from kept")).toBe(42);
  await second.stop();
});

test("a port that somebody else took is given up for another one", LIMIT, async () => {
  const home = temporaryFolder();
  const first = await start(home);
  await first.stop();
  const other = createServer().listen(first.port, "127.0.0.1");
  await once(other, "listening");
  const second = await start(home);
  other.close();
  expect(second.port).not.toBe(first.port);
  expect(await query(second.url, "select 1")).toBe(1);
  await second.stop();
  const third = await start(home);
  expect(third.port).toBe(second.port);
  await third.stop();
});

test(
  "a server that is killed is reported, and the next start recovers what was committed",
  LIMIT,
  async () => {
    const home = temporaryFolder();
    const first = await start(home);
    await query(first.url, "create table kept as select 42 as answer");
    process.kill(postmasterOf(home), "SIGKILL");
    expect(await first.exited).toEqual({ code: null, signal: "SIGKILL" });
    const second = await start(home);
    expect(await query(second.url, "select answer from kept")).toBe(42);
    await second.stop();
  },
);

test("a server whose launcher was killed does not keep the next launcher from starting", LIMIT, async () => {
  const home = temporaryFolder();
  const launcher = await launch(home);
  await query(launcher.says.url, "create table kept as select 42 as answer");
  const orphan = postmasterOf(home);
  await kill(launcher.child, "SIGKILL");
  expect(isAlive(orphan)).toBe(true);
  const server = await start(home);
  expect(isAlive(orphan)).toBe(false);
  expect(server.port).toBe(launcher.says.port);
  expect(await query(server.url, "select answer from kept")).toBe(42);
  await server.stop();
});

test("a launcher that exits without stopping its server leaves none behind", LIMIT, async () => {
  const home = temporaryFolder();
  const launcher = await launch(home);
  const postmaster = postmasterOf(home);
  await kill(launcher.child, "SIGUSR2");
  await until(() => !isAlive(postmaster), "the server stops");
  expect(existsSync(join(home, "postgres/data/postmaster.pid"))).toBe(false);
});

test("a second launcher is refused and told who has the folder", LIMIT, async () => {
  const home = temporaryFolder();
  const first = await launch(home);
  await expect(start(home)).rejects.toThrow(`process ${first.pid}`);
  expect(await query(first.says.url, "select 1")).toBe(1);
  await kill(first.child, "SIGTERM");
  const second = await start(home);
  await expect(start(home)).rejects.toThrow(`process ${process.pid}`);
  await second.stop();
});

test("of launchers that start at the same moment exactly one gets the folder", LIMIT, async () => {
  const home = temporaryFolder();
  const all = await Promise.all([1, 2, 3, 4].map(() => launch(home)));
  const winners = all.filter((launcher) => launcher.says.error === undefined);
  expect(winners).toHaveLength(1);
  for (const { says } of all) if (says.error !== undefined) expect(says.error).toContain("already runs");
});

test("a lock file whose process id now belongs to another program is no obstacle", LIMIT, async () => {
  const home = temporaryFolder();
  await (await start(home)).stop();
  const data = join(home, "postgres/data");
  const { uid, gid } = statSync(data);
  const bystander = spawn("sleep", ["600"], { stdio: "ignore", ...(isRoot() ? { uid, gid } : {}) });
  writeFileSync(join(data, "postmaster.pid"), `${bystander.pid}\n${data}\n1700000000\n5432\n\n127.0.0.1\n`);
  const server = await start(home);
  expect(await query(server.url, "select 1")).toBe(1);
  await server.stop();
  expect(bystander.exitCode ?? bystander.signalCode).toBe(null);
  await kill(bystander, "SIGKILL");
});

test("a server that somebody else started on the folder is left alone", LIMIT, async () => {
  const home = temporaryFolder();
  await (await start(home)).stop();
  const data = join(home, "postgres/data");
  const { uid, gid } = statSync(data);
  const port = await probePort(0);
  const args = ["-D", data, "-c", "unix_socket_directories=", "-c", `port=${port}`];
  const foreign = spawn(locateBinaries().postgres, args, {
    cwd: "/",
    stdio: "ignore",
    ...(isRoot() ? { uid, gid } : {}),
  });
  await until(() => existsSync(join(data, "postmaster.pid")), "the foreign server runs");
  await expect(start(home)).rejects.toThrow(`process ${foreign.pid}`);
  expect(foreign.exitCode ?? foreign.signalCode).toBe(null);
  await kill(foreign, "SIGINT");
});

test("what an interrupted first start left behind is thrown away", LIMIT, async () => {
  const home = temporaryFolder();
  mkdirSync(join(home, "postgres/data.new/base"), { recursive: true });
  mkdirSync(join(home, "postgres/data"));
  writeFileSync(join(home, "postgres/data.new/PG_VERSION"), "18\n");
  const server = await start(home);
  expect(await query(server.url, "select 1")).toBe(1);
  await server.stop();
  expect(existsSync(join(home, "postgres/data.new"))).toBe(false);
});

test(
  "a server that cannot start is explained with the end of its log, and frees the folder",
  LIMIT,
  async () => {
    const home = temporaryFolder();
    await (await start(home)).stop();
    const settings = join(home, "postgres/data/postgresql.conf");
    const good = readFileSync(settings, "utf8");
    writeFileSync(settings, `${good}\nno_such_setting = 1\n`);
    await expect(start(home)).rejects.toThrow(/no_such_setting/);
    writeFileSync(settings, good);
    await (await start(home)).stop();
  },
);
