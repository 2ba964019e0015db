import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type BootstrapCredentials, bootstrap } from "../../src/auth/bootstrap.js";
import { hashedSecret, readClients, secretMatches, toClientRecord } from "../../src/auth/clients.js";
import { ALL_SCOPES } from "../../src/auth/scopes.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { newId } from "../../src/platform/ids.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import { Database } from "../../src/platform/sql.js";
import { createDatabase, type TestDatabase } from "../support/database.js";

const masterKey = new MasterKey(MasterKey.generate());
let database: TestDatabase;
let prisma: PrismaClient;
let sql: Database;

const record = async (clientId: string) => {
  const [row] = await readClients(sql, [clientId]);
  return row === undefined ? null : toClientRecord(row);
};
const opens = async ({ clientId, clientSecret }: BootstrapCredentials): Promise<boolean> => {
  const client = await record(clientId);
  return client !== null && secretMatches(masterKey, client, clientSecret, Date.now());
};
const count = async (table: string): Promise<number> =>
  Number((await database.query<{ count: string }>(`SELECT count(*) FROM ${table}`))[0]?.count);

beforeEach(async () => {
  database = await createDatabase();
  prisma = createPrisma(database.url, 4);
  sql = new Database(database.url, 2, pino({ level: "silent" }));
});
afterEach(async () => {
  await prisma.$disconnect();
  await sql.close();
  await database.drop();
});

describe("the first start", () => {
  test("makes an organization, its project number 1 and an administrator who may do everything", async () => {
    const made = await bootstrap(prisma, masterKey);
    if (made === null) throw new Error("nothing was made");
    expect(await opens(made)).toBe(true);
    expect(await record(made.clientId)).toMatchObject({ scopes: new Set(ALL_SCOPES), projects: "all" });
    expect(await database.query("SELECT name FROM organizations")).toEqual([{ name: "default" }]);
    expect(await database.query("SELECT number, slug, name FROM projects")).toEqual([
      { number: 1, slug: "default", name: "Default" },
    ]);
  });

  test("leaves the next project number 2", async () => {
    await bootstrap(prisma, masterKey);
    const { id: organizationId } = await prisma.organization.findFirstOrThrow();
    const next = await prisma.project.create({ data: { id: newId(), organizationId, slug: "b", name: "B" } });
    expect(next.number).toBe(2);
  });

  test("happens once, in however many processes it happens", async () => {
    const clients = Array.from({ length: 5 }, () => createPrisma(database.url, 1));
    const made = await Promise.all(clients.map((client) => bootstrap(client, masterKey)));
    expect(made.filter((credentials) => credentials !== null)).toHaveLength(1);
    expect([await count("organizations"), await count("projects"), await count("api_clients")]).toEqual([
      1, 1, 1,
    ]);
    await Promise.all(clients.map((client) => client.$disconnect()));
  });

  test("tells the secret before it is kept: who could not be told is not locked out", async () => {
    const told: BootstrapCredentials[] = [];
    const announce = (credentials: BootstrapCredentials): void => {
      told.push(credentials);
      if (told.length === 1) throw new Error("the process dies here");
    };
    await expect(bootstrap(prisma, masterKey, { announce })).rejects.toThrow("the process dies here");
    expect(await count("api_clients")).toBe(0);
    const made = await bootstrap(prisma, masterKey, { announce });
    expect(made).toEqual(told[1]);
    expect(await opens(told[1] as BootstrapCredentials)).toBe(true);
    expect(await database.query("SELECT number FROM projects")).toEqual([{ number: 1 }]);
  });

  test("with nothing to do says nothing", async () => {
    await bootstrap(prisma, masterKey);
    const told: BootstrapCredentials[] = [];
    expect(await bootstrap(prisma, masterKey, { announce: (made) => void told.push(made) })).toBeNull();
    expect(told).toEqual([]);
  });
});

describe("a client of the environment", () => {
  const given = { clientId: "operator", clientSecret: "a secret of the operator's choice, long" };

  test("exists afterwards with that secret, also on an installation that has clients", async () => {
    const made = await bootstrap(prisma, masterKey);
    expect(await bootstrap(prisma, masterKey, given)).toBeNull();
    expect(await opens(given)).toBe(true);
    expect(await opens(made as BootstrapCredentials)).toBe(true);
    expect((await record("operator"))?.scopes).toEqual(new Set(ALL_SCOPES));
  });

  test("is the same after a restart", async () => {
    await bootstrap(prisma, masterKey, given);
    const before = await database.query("SELECT * FROM api_clients");
    const secrets = await database.query("SELECT * FROM api_client_secrets");
    await bootstrap(prisma, masterKey, given);
    expect(await database.query("SELECT * FROM api_clients")).toEqual(before);
    expect(await database.query("SELECT * FROM api_client_secrets")).toEqual(secrets);
  });

  test("gets a changed secret, loses the former one and with it the tokens issued under it", async () => {
    await bootstrap(prisma, masterKey, given);
    const generation = (await record("operator"))?.generation ?? 0;
    const changed = { ...given, clientSecret: "another secret of the operator's choice" };
    await bootstrap(prisma, masterKey, changed);
    expect([await opens(given), await opens(changed)]).toEqual([false, true]);
    expect((await record("operator"))?.generation).toBe(generation + 1);
  });

  test("keeps secrets that were added through the API", async () => {
    await bootstrap(prisma, masterKey, given);
    const { id } = await prisma.apiClient.findUniqueOrThrow({ where: { clientId: "operator" } });
    const added = { clientId: "operator", clientSecret: "added through the API" };
    await prisma.apiClientSecret.create({
      data: { id: newId(), clientId: id, ...hashedSecret(masterKey, added.clientSecret) },
    });
    await bootstrap(prisma, masterKey, { ...given, clientSecret: "a third secret of the operator's choice" });
    expect(await opens(added)).toBe(true);
  });

  test("keeps the scopes and the disabled state that it was given since", async () => {
    await bootstrap(prisma, masterKey, given);
    const data = { scopes: ["job:read"], disabledAt: new Date() };
    await prisma.apiClient.update({ where: { clientId: "operator" }, data });
    await bootstrap(prisma, masterKey, {
      ...given,
      clientSecret: "a changed secret of the operator's choice",
    });
    expect(await record("operator")).toMatchObject({ scopes: new Set(["job:read"]), disabled: true });
  });
});
