import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bootstrap } from "../../src/auth/bootstrap.js";
import {
  type ClientRecord,
  createClient,
  hashedSecret,
  isUsable,
  readClients,
  secretMatches,
  toClientRecord,
} from "../../src/auth/clients.js";
import type { Scope } from "../../src/auth/scopes.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { newId } from "../../src/platform/ids.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import { Database } from "../../src/platform/sql.js";
import { createDatabase, type TestDatabase } from "../support/database.js";

const masterKey = new MasterKey(MasterKey.generate());
let database: TestDatabase;
let prisma: PrismaClient;
let sql: Database;
let organizationId: string;
let projectId: string;

const read = async (clientId: string): Promise<ClientRecord> => {
  const [row] = await readClients(sql, [clientId]);
  if (row === undefined) throw new Error(`no client ${clientId}`);
  return toClientRecord(row);
};
const matches = async (clientId: string, secret: string, now = Date.now()): Promise<boolean> =>
  secretMatches(masterKey, await read(clientId), secret, now);
const make = (more: Partial<Parameters<typeof createClient>[2]> = {}) =>
  prisma.$transaction((tx) =>
    createClient(tx, masterKey, {
      ...{ organizationId, name: "a client", scopes: new Set<Scope>(["job:read"]), projects: "all" as const },
      ...more,
    }),
  );

beforeAll(async () => {
  database = await createDatabase();
  prisma = createPrisma(database.url, 4);
  sql = new Database(database.url, 2, pino({ level: "silent" }));
  await bootstrap(prisma, masterKey);
  organizationId = (await prisma.organization.findFirstOrThrow()).id;
  projectId = (await prisma.project.findFirstOrThrow()).id;
});
afterAll(async () => {
  await prisma.$disconnect();
  await sql.close();
  await database.drop();
});

describe("a client's secret", () => {
  test("is 256 random bits, URL-safe, and stored as a keyed hash alone", async () => {
    const { clientId, clientSecret } = await make();
    expect(clientSecret).toMatch(/^[A-Za-z0-9_-]{43}$/);
    const rows = await database.query<{ text: string }>("SELECT s::text AS text FROM api_client_secrets s");
    for (const { text } of rows) expect(text).not.toContain(clientSecret);
    expect(await matches(clientId, clientSecret)).toBe(true);
  });

  test("does not match when any one character is another, is missing or is added", async () => {
    const { clientId, clientSecret } = await make();
    const record = await read(clientId);
    for (let at = 0; at < clientSecret.length; at += 1) {
      const other = clientSecret[at] === "A" ? "B" : "A";
      const wrong = clientSecret.slice(0, at) + other + clientSecret.slice(at + 1);
      expect(secretMatches(masterKey, record, wrong, Date.now())).toBe(false);
    }
    for (const wrong of [
      clientSecret.slice(1),
      clientSecret.slice(0, -1),
      `${clientSecret}A`,
      "",
      clientId,
    ]) {
      expect(secretMatches(masterKey, record, wrong, Date.now())).toBe(false);
    }
  });

  test("may be one of two; each is good until it expires", async () => {
    const { id, clientId, clientSecret } = await make();
    const expiresAt = new Date(Date.now() + 60_000);
    const second = hashedSecret(masterKey, "the second secret");
    await prisma.apiClientSecret.create({ data: { id: newId(), clientId: id, ...second, expiresAt } });
    expect(await matches(clientId, clientSecret)).toBe(true);
    expect(await matches(clientId, "the second secret", expiresAt.getTime() - 1)).toBe(true);
    expect(await matches(clientId, "the second secret", expiresAt.getTime())).toBe(false);
    expect(await matches(clientId, clientSecret, expiresAt.getTime())).toBe(true);
  });

  test("does not match a hash that was made under another master key", async () => {
    const { clientId, clientSecret } = await make();
    const other = new MasterKey(MasterKey.generate());
    expect(secretMatches(other, await read(clientId), clientSecret, Date.now())).toBe(false);
  });

  test("with plus signs matches when form-decoding has made spaces of them", async () => {
    const { clientId } = await make({ clientSecret: "a+b+c" });
    expect(await matches(clientId, "a+b+c")).toBe(true);
    expect(await matches(clientId, "a b c")).toBe(true);
    expect(await matches(clientId, "a-b-c")).toBe(false);
  });
});

describe("a client", () => {
  test("is read back as it was made", async () => {
    const expiresAt = new Date(Date.now() + 60_000);
    const { id, clientId } = await make({ projects: new Set([projectId]), tokenLifetime: 60, expiresAt });
    expect(await read(clientId)).toMatchObject({
      ...{ id, clientId, organizationId, name: "a client", scopes: new Set(["job:read"]), generation: 1 },
      ...{ grantTypes: ["client_credentials"], projects: new Set([projectId]), tokenLifetime: 60 },
      ...{ disabled: false, expiresAt: expiresAt.getTime() },
    });
  });

  test("is usable while it is neither disabled nor expired", async () => {
    const { clientId } = await make({ expiresAt: new Date(5_000) });
    const record = await read(clientId);
    expect(isUsable(record, 4_999)).toBe(true);
    expect(isUsable(record, 5_000)).toBe(false);
    expect(isUsable({ ...record, disabled: true }, 0)).toBe(false);
    expect(isUsable({ ...record, expiresAt: null }, 5_000)).toBe(true);
  });

  test("that was granted all of a tenant keeps that grant by its name", async () => {
    const { clientId } = await make({ scopes: (await read((await make()).clientId)).scopes });
    const [narrow] = await database.query<{ scopes: string[] }>(
      "SELECT scopes FROM api_clients WHERE client_id = $1",
      [clientId],
    );
    expect(narrow?.scopes).toEqual(["job:read"]);
    const [administrator] = await database.query<{ scopes: string[] }>(
      "SELECT scopes FROM api_clients WHERE name = 'administrator'",
    );
    expect(administrator?.scopes).toEqual([
      "service",
      "production:destructive",
      "platform:admin",
      "platform:metrics",
    ]);
  });

  test.each(["\0", "a\0b", "é", "x".repeat(257), ""])(
    "named %j is looked for nowhere and breaks nothing",
    async (id) => {
      expect(await readClients(sql, [id])).toEqual([]);
    },
  );
});
