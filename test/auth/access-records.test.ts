import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type AccessRecords, createAccessRecords, MAX_AGE_MS } from "../../src/auth/access-records.js";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { type CreatedClient, createClient } from "../../src/auth/clients.js";
import type { Scope } from "../../src/auth/scopes.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import { Database, type Sql } from "../../src/platform/sql.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";

const masterKey = new MasterKey(MasterKey.generate());
const logger = pino({ level: "silent" });
let database: TestDatabase;
let prisma: PrismaClient;
let sql: Database;
let organizationId: string;
let client: CreatedClient;
let records: AccessRecords;

/** The real database, with what went over the wire counted and, when a test wants it, held back or cut. */
const wire = {
  queries: [] as string[][],
  cut: false,
  hold: null as Promise<void> | null,
};
const watched = (): Sql => ({
  run: (statement, values) => sql.run(statement, values),
  afterCommit: (listener) => sql.afterCommit(listener),
  async rows<R extends object>(...[statement, values]: Parameters<Sql["rows"]>) {
    wire.queries.push([...(values ?? []).flat()] as string[]);
    if (wire.cut) throw new Error("the wire is cut");
    const rows = await sql.rows<R>(statement, values);
    await wire.hold;
    return rows;
  },
});

const newClient = (): Promise<CreatedClient> =>
  prisma.$transaction((tx) =>
    createClient(tx, masterKey, {
      ...{ organizationId, name: "a client", scopes: new Set<Scope>(["job:read"]), projects: "all" as const },
    }),
  );
const disable = (clientId: string) =>
  prisma.apiClient.update({
    where: { clientId },
    data: { disabledAt: new Date(), generation: { increment: 1 } },
  });

beforeAll(async () => {
  database = await createDatabase();
  prisma = createPrisma(database.url, 4);
  sql = new Database(database.url, 4, logger);
  await bootstrap(prisma, masterKey);
  organizationId = (await prisma.organization.findFirstOrThrow()).id;
});
beforeEach(async () => {
  client = await newClient();
  Object.assign(wire, { queries: [], cut: false, hold: null });
  records = createAccessRecords({ sql: watched(), logger });
});
afterEach(() => records.close());
afterAll(async () => {
  await prisma.$disconnect();
  await sql.close();
  await database.drop();
});

describe("access records", () => {
  test("answer at once and without a query once they are known", async () => {
    const first = await records.get(client.clientId);
    expect(first).toMatchObject({ clientId: client.clientId });
    const queries = wire.queries.length;
    for (let look = 0; look < 1_000; look += 1) expect(records.get(client.clientId)).toBe(first);
    expect(wire.queries).toHaveLength(queries);
  });

  test("of clients asked for in one turn come with one query", async () => {
    const many = await Promise.all(Array.from({ length: 20 }, newClient));
    const found = await Promise.all(many.map(({ clientId }) => records.get(clientId)));
    expect(found.map((record) => record?.clientId)).toEqual(many.map(({ clientId }) => clientId));
    expect(wire.queries).toHaveLength(1);
  });

  test("are refreshed together: one query covers all in use, and an unchanged one stays the same object", async () => {
    const others = await Promise.all(Array.from({ length: 5 }, newClient));
    const ids = [client, ...others].map(({ clientId }) => clientId);
    const before = await Promise.all(ids.map((id) => records.get(id)));
    await until("a refresh", () => wire.queries.length >= 3);
    for (const query of wire.queries.slice(1)) expect(query.sort()).toEqual([...ids].sort());
    expect(await Promise.all(ids.map((id) => records.get(id)))).toEqual(before);
    expect(records.get(client.clientId)).toBe(before[0]);
  });

  test("show a change within a second", async () => {
    await records.get(client.clientId);
    await disable(client.clientId);
    const changed = performance.now();
    await until("the change", async () => (await records.get(client.clientId))?.disabled, 5_000);
    expect(performance.now() - changed).toBeLessThan(MAX_AGE_MS);
  });

  test("show that a client is gone", async () => {
    await records.get(client.clientId);
    await prisma.apiClient.delete({ where: { clientId: client.clientId } });
    await until("its absence", async () => (await records.get(client.clientId)) === null, 5_000);
    expect(records.get(client.clientId)).toBeNull();
  });

  test("that were forgotten are read again at the next look", async () => {
    await records.get(client.clientId);
    await disable(client.clientId);
    records.forget(client.clientId);
    expect((await records.get(client.clientId))?.disabled).toBe(true);
  });

  test("that were forgotten do not come back from a query that was under way", async () => {
    let release = (): void => {};
    wire.hold = new Promise((resolve) => {
      release = resolve;
    });
    const old = records.get(client.clientId);
    await until("the query", () => wire.queries.length === 1);
    // Its rows are read by now or never matter: they are older than what follows.
    await disable(client.clientId);
    records.forget(client.clientId);
    wire.hold = null;
    release();
    await old;
    expect((await records.get(client.clientId))?.disabled).toBe(true);
  });

  test("are read anew on demand, however fresh the memory is", async () => {
    await records.get(client.clientId);
    await disable(client.clientId);
    expect((await records.reload(client.clientId))?.disabled).toBe(true);
    expect(records.get(client.clientId)).toMatchObject({ disabled: true });
  });

  test("older than a second are not answered: without the database it is unavailable, with it they are back", async () => {
    await records.get(client.clientId);
    wire.cut = true;
    const failure = await until(
      "the end of the memory's freshness",
      async () => {
        try {
          await records.get(client.clientId);
          return null;
        } catch (error) {
          return error as Error;
        }
      },
      5_000,
    );
    expect(failure).toMatchObject({ code: "unavailable", details: { retryAfter: 1 } });
    await expect(records.get(client.clientId)).rejects.toMatchObject({ code: "unavailable" });
    wire.cut = false;
    expect(await records.get(client.clientId)).toMatchObject({ clientId: client.clientId });
  });

  test("of a database that does not answer at all are unavailable, too", async () => {
    wire.hold = new Promise(() => {});
    await expect(records.get(client.clientId)).rejects.toMatchObject({ code: "unavailable" });
  });

  test("of names that nobody has are not kept: they would crowd out clients", async () => {
    await records.get(client.clientId);
    await Promise.all(Array.from({ length: 50 }, (_, index) => records.get(`nobody-${index}`)));
    const before = wire.queries.length;
    await until("a refresh", () => wire.queries.length > before);
    expect(wire.queries.at(-1)).toEqual([client.clientId]);
  });
});
