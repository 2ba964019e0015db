import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import pg from "pg";
import { beforeAll, describe, expect, it } from "vitest";
import { type Engine, EngineError, type Instance } from "../../src/engines/engine.js";
import { createPostgresEngine } from "../../src/engines/postgres/engine.js";
import { FencedError, type PlaceSpec } from "../../src/engines/substrate.js";
import { until } from "../support/until.js";
import { createRegion, LIMITS, MIB, NEVER, openPlace, type TestRegion } from "./support.js";

const engine: Engine = await createPostgresEngine(process.env["PATH"] ?? "");
const CI = process.env["CI"] === "true";
const context = { signal: NEVER, log: () => {} };

function regionOf(): TestRegion {
  if (region === null) throw new Error(engine.missing ?? "there is no engine");
  return region;
}

/** A deployment of the tests: its row, so to speak. */
interface Made {
  readonly spec: PlaceSpec;
  command: number;
  password: string;
  readonly adminSecret: string;
}

/** Its servers end with the file, so it is made where such an end can be registered. */
const region: TestRegion | null = engine.missing === null ? await createRegion() : null;

async function make(limits = LIMITS): Promise<Made> {
  const secret = () => randomUUID().replaceAll("-", "");
  return { spec: await regionOf().spec(limits), command: 0, password: secret(), adminSecret: secret() };
}

/** As the next command sees it. */
async function next(made: Made, connections = 20): Promise<Instance> {
  made.command += 1;
  const place = await openPlace(regionOf(), made.spec, made.command);
  const { password, adminSecret } = made;
  const version = engine.versions[0]?.number ?? "";
  return {
    id: made.spec.id,
    version,
    plan: { connections },
    credentials: { username: "app", password, adminSecret },
    place,
  };
}

async function serving(limits = LIMITS): Promise<Made> {
  const made = await make(limits);
  const instance = await next(made);
  await engine.provision(instance, context);
  await engine.start(instance, context);
  return made;
}

async function connect({ spec, password }: Made): Promise<pg.Client> {
  const client = new pg.Client(engine.connectionUrl("127.0.0.1", spec.port, { username: "app", password }));
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function query<R extends object>(made: Made, sql: string): Promise<R[]> {
  const client = await connect(made);
  try {
    return (await client.query<R>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function archiveOf(made: Made): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of await engine.snapshot(await next(made), context)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const from = (content: Buffer | string): Readable => Readable.from([Buffer.from(content)]);

async function refusal(work: Promise<unknown>): Promise<EngineError> {
  const error = await work.then(
    () => new Error("nothing was refused"),
    (failure: unknown) => failure,
  );
  if (error instanceof EngineError) return error;
  throw error;
}

describe.skipIf(engine.versions.length === 0 && !CI)("a postgres deployment", () => {
  let made: Made;

  beforeAll(async () => {
    made = await serving();
    await query(made, "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)");
    await query(made, "INSERT INTO accounts SELECT n, 100 FROM generate_series(1, 100) AS n");
    await query(made, "CREATE INDEX by_balance ON accounts (balance)");
  });

  it("is made and started once, however often that is asked for", async () => {
    const instance = await next(made);
    const before = await instance.place.status();
    await engine.provision(instance, context);
    await engine.start(instance, context);
    expect(await instance.place.status()).toMatchObject({ life: (before as { life: string }).life });
    expect(await query(made, "SELECT count(*)::int AS count FROM accounts")).toEqual([{ count: 100 }]);
  });

  it("keeps its data over a stop, and answers health while it runs", async () => {
    const instance = await next(made);
    expect(await engine.health(instance, NEVER)).toEqual({ status: "healthy", detail: null });
    await engine.stop(instance, context);
    await engine.stop(instance, context);
    expect(await engine.health(instance, NEVER)).toEqual({ status: "stopped", detail: null });
    await engine.start(instance, context);
    expect(await query(made, "SELECT count(*)::int AS count FROM accounts")).toEqual([{ count: 100 }]);
  });

  it("lets its customer run nothing on the machine, read no file and change no setting", async () => {
    const client = await connect(made);
    const attempts = [
      "COPY accounts TO PROGRAM 'cat > /tmp/x'",
      "COPY accounts FROM PROGRAM 'id'",
      "COPY accounts TO '/tmp/accounts'",
      "COPY accounts FROM '/etc/passwd'",
      "SELECT pg_read_file('/etc/passwd')",
      "SELECT pg_ls_dir('/')",
      "SELECT lo_import('/etc/passwd')",
      "SELECT lo_export(1, '/tmp/x')",
      "CREATE EXTENSION plpython3u",
      "CREATE EXTENSION file_fdw",
      "CREATE EXTENSION dblink",
      "CREATE EXTENSION adminpack",
      "CREATE FUNCTION x() RETURNS int AS 'libc.so.6', 'getpid' LANGUAGE c",
      "LOAD '/tmp/x.so'",
      "ALTER SYSTEM SET shared_buffers = '8GB'",
      "SET temp_file_limit = -1",
      "SET log_statement = 'all'",
      "SET session_preload_libraries = 'x'",
      "SELECT pg_reload_conf()",
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gatehouse'",
      "CREATE ROLE other LOGIN",
      "ALTER ROLE app SUPERUSER",
      "ALTER ROLE app CONNECTION LIMIT 1000",
      "CREATE DATABASE other",
      "SET ROLE gatehouse",
      "SET SESSION AUTHORIZATION gatehouse",
      "GRANT pg_execute_server_program TO app",
      "SELECT * FROM pg_authid",
      "CREATE TABLESPACE other LOCATION '/tmp'",
      "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p",
    ];
    const allowed: string[] = [];
    for (const attempt of attempts) {
      const result = await client.query(attempt).catch(() => null);
      if (result !== null && (result.rowCount ?? 0) > 0) allowed.push(attempt);
      else if (result !== null && !attempt.startsWith("SELECT pg_terminate")) allowed.push(attempt);
    }
    await client.end();
    expect(allowed).toEqual([]);
  });

  it("opens for its customer's password alone, in its own database alone", async () => {
    const url = (user: string, password: string, database: string) =>
      `postgresql://${user}:${password}@127.0.0.1:${made.spec.port}/${database}`;
    for (const [user, password, database] of [
      ["app", "wrong", "app"],
      ["app", made.password, "postgres"],
      ["app", made.password, "template1"],
      ["gatehouse", made.adminSecret, "postgres"],
      ["gatehouse", made.adminSecret, "app"],
      ["gatehouse_loader", made.adminSecret, "app"],
    ] as const) {
      const client = new pg.Client(url(user, password, database));
      await expect(client.connect(), `${user} at ${database}`).rejects.toThrow();
    }
  });

  it("is copied as of one moment while it is written to", async () => {
    const writer = await connect(made);
    let writing = true;
    let transfers = 0;
    const written = (async () => {
      while (writing) {
        const [a, b] = [1 + (transfers % 100), 1 + ((transfers * 7 + 3) % 100)];
        await writer.query(
          `WITH a AS (UPDATE accounts SET balance = balance - 1 WHERE id = ${a})
           UPDATE accounts SET balance = balance + 1 WHERE id = ${b === a ? (b % 100) + 1 : b}`,
        );
        transfers += 1;
      }
    })();
    await until("some transfers", () => (transfers > 20 ? true : null));
    const archive = await archiveOf(made);
    writing = false;
    await written;
    await writer.end();
    const copy = await make();
    const instance = await next(copy);
    await engine.provision(instance, context);
    await engine.restore(instance, from(archive), context);
    await engine.start(instance, context);
    expect(
      await query(copy, "SELECT sum(balance)::int AS sum, count(*)::int AS count FROM accounts"),
    ).toEqual([{ sum: 10_000, count: 100 }]);
    expect(await query(copy, "SELECT indexname FROM pg_indexes WHERE indexname = 'by_balance'")).toHaveLength(
      1,
    );
  });

  it("loses no acknowledged write when its server is killed", async () => {
    await query(made, "CREATE TABLE IF NOT EXISTS kept (n int)");
    await query(made, "INSERT INTO kept VALUES (42)");
    const instance = await next(made);
    const status = await instance.place.status();
    if (status.state !== "running") throw new Error("it does not run");
    process.kill(status.pid, "SIGKILL");
    await until(
      "its processes are gone",
      async () => (await instance.place.status()).state !== "running" || null,
    );
    await engine.start(instance, context);
    expect(await query(made, "SELECT n FROM kept")).toEqual([{ n: 42 }]);
  });

  it("takes another password, which ends the sessions of the old", async () => {
    const session = await connect(made);
    const ended = new Promise((resolve) => session.once("end", resolve));
    const old = { ...made };
    made.password = "another-password-of-some-length";
    const instance = await next(made);
    await engine.changeCredentials(instance, context);
    await engine.changeCredentials(instance, context);
    await ended;
    await expect(connect(old)).rejects.toThrow(/password/);
    expect(await query(made, "SELECT 1 AS one")).toEqual([{ one: 1 }]);
  });

  it("takes another plan's limits with its next start", async () => {
    const instance = await next(made, 7);
    const larger = { ...instance, place: instance.place };
    expect(await engine.resize(larger, context)).toEqual({ needsRestart: true });
    await engine.stop(larger, context);
    await engine.start(larger, context);
    expect(await engine.resize(larger, context)).toEqual({ needsRestart: false });
    // One after the other: two that come at once both count.
    const sessions: pg.Client[] = [];
    for (let n = 0; n < 7; n += 1) sessions.push(await connect(made));
    await expect(connect(made)).rejects.toThrow(/too many connections/);
    for (const session of sessions) await session.end();
  });

  it("past its storage limit is read, then closed, and opened again", async () => {
    const write = "INSERT INTO kept VALUES (1)";
    await engine.holdStorage(await next(made), "read_only", context);
    await expect(query(made, write)).rejects.toThrow(/read-only/);
    expect((await query(made, "SELECT 1")).length).toBe(1);
    await engine.holdStorage(await next(made), "closed", context);
    const held = await next(made);
    await engine.start(held, context);
    await expect(query(made, "SELECT 1")).rejects.toThrow(/connections/);
    await engine.holdStorage(await next(made), "none", context);
    await query(made, write);
  });

  describe("into which an archive is imported", () => {
    const load = async (content: Buffer | string) => engine.import(await next(made), from(content), context);
    const count = () => query<{ count: number }>(made, "SELECT count(*)::int AS count FROM accounts");

    it.each([
      ["nothing", ""],
      ["noise", Buffer.alloc(4_000, 7)],
      ["a zip", Buffer.from("504b03041400000008000000", "hex")],
      ["SQL with a fault", "CREATE TABLE ok (n int);\nSELEKT 1;\n"],
      ["SQL with a shell command", "CREATE TABLE ok (n int);\n\\! touch /tmp/gatehouse-was-here\n"],
      ["SQL that writes to a pipe", "SELECT 1 \\g | cat > /tmp/gatehouse-was-here\n"],
      ["SQL that copies from a program", "CREATE TABLE ok (n text);\n\\copy ok from program 'id'\n"],
      ["SQL that reads a file", "\\i /etc/passwd\n"],
      ["SQL that lifts the ban", "\\unrestrict x\n\\! id\n"],
      ["SQL for another role", "ALTER ROLE app SUPERUSER;\n"],
    ])("%s is refused, and the data stays", async (_name, content) => {
      const error = await refusal(load(content));
      expect(error.code).toBe("bad_archive");
      expect(await count()).toEqual([{ count: 100 }]);
      expect(await query(made, "SELECT 1 FROM pg_tables WHERE tablename = 'ok'")).toEqual([]);
    });

    it("a truncated one is refused, and the data stays", async () => {
      const archive = await archiveOf(made);
      expect((await refusal(load(archive.subarray(0, archive.length - 300)))).code).toBe("bad_archive");
      expect(await count()).toEqual([{ count: 100 }]);
    });

    it("one that is too large is refused, and the data stays", async () => {
      const endless = Readable.from(
        (function* () {
          for (;;) yield Buffer.alloc(MIB, "-- nothing\n");
        })(),
      );
      const small = { ...made.spec, limits: { ...LIMITS, storageBytes: 4 * MIB } };
      const place = await openPlace(regionOf(), small, ++made.command);
      const instance = { ...(await next(made)), place };
      expect(
        (
          await refusal(
            engine.import(
              { ...instance, place: await openPlace(regionOf(), small, ++made.command) },
              endless,
              context,
            ),
          )
        ).code,
      ).toBe("too_large");
      expect(await count()).toEqual([{ count: 100 }]);
    });

    it("plain SQL of pg_dump replaces the data, lines of data that look like commands included", async () => {
      const sql = [
        "--\n-- PostgreSQL database dump\n--\n",
        "\\restrict AbC123\n",
        "SET client_encoding = 'UTF8';",
        "CREATE TABLE public.accounts (id int, balance int);",
        "CREATE TABLE public.lines (line text);",
        "COPY public.lines (line) FROM stdin;",
        "\\\\! id",
        "\\N",
        "\\restrict x",
        "\\.",
        "INSERT INTO public.accounts VALUES (1, 1);",
        "\\unrestrict AbC123\n",
      ].join("\n");
      await load(sql);
      await engine.start(await next(made), context);
      expect(await count()).toEqual([{ count: 1 }]);
      expect(await query(made, "SELECT line FROM lines")).toEqual([
        { line: "\\! id" },
        { line: null },
        { line: "\restrict x" },
      ]);
      expect(await query(made, "SELECT tableowner FROM pg_tables WHERE tablename = 'lines'")).toEqual([
        { tableowner: "app" },
      ]);
    });

    it("the same command that loads again, as after a death of its worker, keeps what was written since", async () => {
      const archive = await archiveOf(made);
      const instance = await next(made);
      await engine.import(instance, from(archive), context);
      await engine.start(instance, context);
      await query(made, "INSERT INTO accounts VALUES (2, 2)");
      await engine.import(instance, from(archive), context);
      expect(await count()).toEqual([{ count: 2 }]);
    });
  });

  it("takes nothing from a command that is older than the last", async () => {
    const late = await next(made);
    await engine.stop(await next(made), context);
    await expect(engine.start(late, context)).rejects.toBeInstanceOf(FencedError);
    await engine.start(await next(made), context);
  });

  it("tells what it takes", async () => {
    const usage = await engine.inspect(await next(made), NEVER);
    expect(usage.storageBytes).toBeGreaterThan(10 * MIB);
    expect(usage.memoryBytes).toBeGreaterThan(MIB);
    expect(usage.connections).toBe(0);
  });

  it("is removed with everything, twice if asked", async () => {
    const gone = await serving();
    await engine.destroy(await next(gone), context);
    expect(await regionOf().substrate.list(NEVER)).not.toContain(gone.spec.id);
    await engine.destroy(await next(gone), context);
  });

  it("tells no secret on a command line or in its log", async () => {
    const instance = await next(made);
    const log = await instance.place.logs(1_000_000);
    const processes = await text(
      (await import("node:child_process")).spawn("ps", ["-axww", "-o", "args="]).stdout,
    );
    for (const secret of [made.password, made.adminSecret]) {
      expect(log).not.toContain(secret);
      expect(processes).not.toContain(secret);
    }
  });
});
