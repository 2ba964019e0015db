import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openQueue } from "../../src/operations/queue.js";
import { newId } from "../../src/platform/ids.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import { Database, isDatabaseAway, toJsonb } from "../../src/platform/sql.js";
import { openTcpProxy } from "../faults/driver/tcp-proxy.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";
import { silent } from "./support.js";

let database: TestDatabase;
let db: Database;
let prisma: PrismaClient;
beforeAll(async () => {
  database = await createDatabase();
  db = new Database(database.url, 2, silent);
  prisma = createPrisma(database.url, 1);
});
afterAll(async () => {
  await prisma.$disconnect();
  await db.close();
  await database.drop();
});

/** Messages of a server (https://www.postgresql.org/docs/18/protocol-message-formats.html). */
const message = (type: string, ...body: Buffer[]): Buffer => {
  const length = Buffer.alloc(4);
  length.writeInt32BE(4 + body.reduce((bytes, part) => bytes + part.length, 0));
  return Buffer.concat([Buffer.from(type), length, ...body]);
};
const LET_IN = Buffer.concat([message("R", Buffer.alloc(4)), message("Z", Buffer.from("I"))]);
const ENDED = message(
  "E",
  Buffer.from("SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"),
);

const SUICIDE = "SELECT pg_terminate_backend(pg_backend_pid())";

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

test("a statement that is planned while its table is empty goes by an index all the same", async () => {
  await db.transaction(async (tx) => {
    await tx.run("CREATE TEMP TABLE empty (id uuid PRIMARY KEY, text text) ON COMMIT DROP");
    const plan = await tx.rows<object>("EXPLAIN UPDATE empty SET text = '' WHERE id = ANY ($1::uuid[])", [
      [],
    ]);
    expect(JSON.stringify(plan)).toContain("empty_pkey");
  });
});

describe("a transaction", () => {
  test("whose connection breaks between two statements fails, and the process lives on", async () => {
    const failure = await failureOf(
      db.transaction(async (tx) => {
        const [row] = await tx.rows<{ pid: number }>("SELECT pg_backend_pid() AS pid");
        await database.query("SELECT pg_terminate_backend($1)", [row?.pid]);
        await until("the session is gone", async () => {
          const left = await database.query("SELECT 1 FROM pg_stat_activity WHERE pid = $1", [row?.pid]);
          return left.length === 0;
        });
        await tx.run("SELECT 1");
      }),
    );
    expect(isDatabaseAway(failure)).toBe(true);
    expect(await db.run("SELECT 1")).toBe(1);
  });

  test("whose connection is ended in the moment it is there fails, and so does a send to the queue", async () => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      // It is let in, may send statements, and is ended: all in one breath.
      socket.once("data", () => socket.end(Buffer.concat([LET_IN, ENDED])));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `postgresql://somebody@127.0.0.1:${(server.address() as AddressInfo).port}/nothing`;
    const ended = new Database(url, 1, silent);
    const queue = openQueue({ kind: "postgres", databaseUrl: url }, silent);
    try {
      expect(isDatabaseAway(await failureOf(ended.transaction((tx) => tx.run("SELECT 1"))))).toBe(true);
      await expect(queue.send([{ id: newId(), priority: 1, region: null }])).rejects.toThrow();
    } finally {
      await Promise.all([ended.close(), queue.close()]);
      server.close();
    }
  });

  test("goes on without a part that failed, and tells nobody of that part's commit", async () => {
    await database.query("CREATE TABLE parts (name text)");
    const told: string[] = [];
    await db.transaction(async (tx) => {
      const write = async (name: string): Promise<void> => {
        await tx.run("INSERT INTO parts VALUES ($1)", [name]);
        tx.afterCommit(() => told.push(name));
      };
      await write("first");
      const fault = await failureOf(tx.part(() => write("bad").then(() => tx.run("SELECT 1 / 0"))));
      expect(fault).toMatchObject({ code: "22012" });
      await tx.part(() => write("second"));
    });
    expect(told).toEqual(["first", "second"]);
    expect(await database.query("SELECT name FROM parts")).toEqual([{ name: "first" }, { name: "second" }]);
  });

  test("of a process that stopped in its midst keeps its locks for seconds only", async () => {
    await database.query("CREATE TABLE held (id int)");
    let stopped = (): void => {};
    const sleeper = failureOf(
      db.transaction(async (tx) => {
        await tx.run("LOCK TABLE held");
        await new Promise<void>((resolve) => {
          stopped = resolve;
        });
        await tx.run("SELECT 1");
      }),
    );
    await until("it holds the lock", async () => {
      const locks = await database.query(
        "SELECT 1 FROM pg_locks WHERE relation = 'held'::regclass AND granted",
      );
      return locks.length > 0;
    });
    const started = performance.now();
    await database.query("INSERT INTO held VALUES (1)");
    // Less than the lease of an operation.
    expect(performance.now() - started).toBeLessThan(6_000);
    stopped();
    expect(isDatabaseAway(await sleeper)).toBe(true);
  });
});

describe("a database that is away is told from other faults", () => {
  test("a session that was ended", async () => {
    expect(isDatabaseAway(await failureOf(db.run(SUICIDE)))).toBe(true);
    expect(isDatabaseAway(await failureOf(prisma.$queryRawUnsafe(SUICIDE)))).toBe(true);
  });

  test("a session that was ended during its commit", async () => {
    await database.query(`
      CREATE TABLE doomed (name text);
      CREATE FUNCTION doom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER doom AFTER INSERT ON doomed DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doom()`);
    const write = "INSERT INTO doomed VALUES ('last words')";
    const written = prisma.$transaction(async (tx) => tx.$executeRawUnsafe(write));
    const fault = await failureOf(written);
    expect(fault).toBeInstanceOf(Error);
    expect(isDatabaseAway(fault)).toBe(true);
    expect(isDatabaseAway(await failureOf(db.transaction((tx) => tx.run(write))))).toBe(true);
  });

  test("a server that does not answer", async () => {
    const url = "postgresql://nobody@127.0.0.1:1/nothing";
    const away = new Database(url, 1, silent);
    const alsoAway = createPrisma(url, 1);
    expect(isDatabaseAway(await failureOf(away.run("SELECT 1")))).toBe(true);
    expect(isDatabaseAway(await failureOf(alsoAway.job.findFirst()))).toBe(true);
    await away.close();
    await alsoAway.$disconnect();
  });

  test("a server that takes no more connections", async () => {
    const role = `crowded_${process.pid}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x' CONNECTION LIMIT 0`);
    const url = new URL(database.url);
    url.username = role;
    url.password = "x";
    const crowded = new Database(url.href, 1, silent);
    const alsoCrowded = createPrisma(url.href, 1);
    expect(isDatabaseAway(await failureOf(crowded.run("SELECT 1")))).toBe(true);
    expect(isDatabaseAway(await failureOf(alsoCrowded.job.findFirst()))).toBe(true);
    await crowded.close();
    await alsoCrowded.$disconnect();
    await database.query(`DROP ROLE ${role}`);
  });

  test("a server that falls silent", async () => {
    const proxy = await openTcpProxy(() => Number(new URL(database.url).port));
    const url = new URL(database.url);
    url.port = String(proxy.port);
    const silenced = new Database(url.href, 1, silent, 2_000);
    await silenced.run("SELECT 1");
    proxy.stall();
    expect(isDatabaseAway(await failureOf(silenced.run("SELECT 1")))).toBe(true);
    proxy.flow();
    const during = silenced.transaction(async (tx) => {
      await tx.run("SELECT 1");
      proxy.stall();
      await tx.run("SELECT 1");
    });
    expect(isDatabaseAway(await failureOf(during))).toBe(true);
    proxy.flow();
    expect(await silenced.run("SELECT 1")).toBe(1);
    await silenced.close();
    await proxy.close();
  });

  test("a transaction that took too long", async () => {
    const slow = prisma.$transaction((tx) => tx.$queryRawUnsafe("SELECT pg_sleep(1)::text"), {
      timeout: 100,
    });
    expect(isDatabaseAway(await failureOf(slow))).toBe(true);
  });

  test("a fault of ours is none of these", async () => {
    expect(isDatabaseAway(await failureOf(db.run("SELECT 1 / 0")))).toBe(false);
    expect(isDatabaseAway(await failureOf(prisma.$queryRawUnsafe("SELECT nothing")))).toBe(false);
    expect(isDatabaseAway(new Error("anything"))).toBe(false);
    expect(isDatabaseAway("no error at all")).toBe(false);
  });
});

test("every value that JSON can say is taken by jsonb, changed only where jsonb refuses it", {
  retry: 0,
}, async () => {
  const keep = (text: string): string => text.replaceAll("\0", "\ufffd").replace(/\p{Surrogate}/gu, "\ufffd");
  const text = fc.string({
    unit: fc.oneof(fc.constantFrom("\0", "\ud83d", "\udc00", "\\", "u0000", '"'), fc.string()),
  });
  await fc.assert(
    fc.asyncProperty(text, async (value) => {
      const [row] = await db.rows<{ kept: { text: string } }>("SELECT $1::jsonb AS kept", [
        toJsonb({ text: value }),
      ]);
      expect(row?.kept.text).toBe(keep(value));
    }),
  );
});
