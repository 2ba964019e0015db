import { createPublicKey, verify } from "node:crypto";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { addSigningKey, openSigningKeys, type SigningKeys } from "../../src/auth/keys.js";
import { systemClock } from "../../src/platform/clock.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";

const masterKey = new MasterKey(MasterKey.generate());
const logger = pino({ level: "silent" });
let database: TestDatabase;
let prisma: PrismaClient;
const opened: SigningKeys[] = [];

const open = async (client = prisma, key = masterKey): Promise<SigningKeys> => {
  const keys = await openSigningKeys({ prisma: client, masterKey: key, clock: systemClock, logger });
  opened.push(keys);
  return keys;
};

beforeAll(async () => {
  database = await createDatabase();
  prisma = createPrisma(database.url, 4);
});
beforeEach(async () => {
  await database.query("DELETE FROM signing_keys");
});
afterEach(() => {
  for (const keys of opened.splice(0)) keys.close();
});
afterAll(async () => {
  await prisma.$disconnect();
  await database.drop();
});

describe("signing keys", () => {
  test("processes that start at once end with the same one active key", async () => {
    const clients = Array.from({ length: 6 }, () => createPrisma(database.url, 1));
    const all = await Promise.all(clients.map((client) => open(client)));
    expect(new Set(all.map((keys) => keys.active.kid)).size).toBe(1);
    expect(await database.query("SELECT kid FROM signing_keys")).toHaveLength(1);
    await Promise.all(clients.map((client) => client.$disconnect()));
  });

  test("survive a restart, and sign what their published half verifies", async () => {
    const before = await open();
    const after = await open();
    expect(after.active.kid).toBe(before.active.kid);
    const [jwk] = after.jwks.keys;
    expect(jwk).toEqual({
      ...{ kty: "EC", crv: "P-256", alg: "ES256", use: "sig", kid: after.active.kid },
      ...{ x: expect.any(String), y: expect.any(String) },
    });
    const { sign } = await import("node:crypto");
    const signature = sign("sha256", Buffer.from("text"), before.active.privateKey);
    const pem = await after.publicPem(after.active.kid);
    expect(verify("sha256", Buffer.from("text"), createPublicKey(pem ?? ""), signature)).toBe(true);
  });

  test("are stored encrypted: the row holds nothing of the private half", async () => {
    const { active } = await open();
    const { d } = active.privateKey.export({ format: "jwk" });
    const [row] = await database.query<{ private_key: Buffer; text: string }>(
      "SELECT private_key, signing_keys::text AS text FROM signing_keys",
    );
    expect(row?.private_key.includes(Buffer.from(d ?? "", "base64url"))).toBe(false);
    expect(row?.private_key.toString("latin1")).not.toContain("PRIVATE KEY");
    expect(row?.text).not.toContain(d);
  });

  test("refuse a start under another master key, and say which one is missing", async () => {
    const { active } = await open();
    const other = new MasterKey(MasterKey.generate());
    await expect(open(prisma, other)).rejects.toThrow(
      new RegExp(`${active.kid}.*${masterKey.id}.*${other.id}.*GATEHOUSE_MASTER_KEY`, "s"),
    );
  });

  test("that are published sign only once they are activated", async () => {
    const keys = await open();
    const first = keys.active.kid;
    const next = await prisma.$transaction((tx) => addSigningKey(tx, masterKey, null));
    await keys.reload();
    expect(keys.active.kid).toBe(first);
    expect(keys.jwks.keys.map((jwk) => jwk.kid).sort()).toEqual([first, next].sort());
    await prisma.signingKey.update({ where: { kid: next }, data: { activatedAt: new Date() } });
    await keys.reload();
    expect(keys.active.kid).toBe(next);
    expect(await keys.publicPem(first)).toContain("BEGIN PUBLIC KEY");
  });

  test("that are retired are no longer published", async () => {
    const keys = await open();
    const first = keys.active.kid;
    await prisma.$transaction((tx) => addSigningKey(tx, masterKey, new Date()));
    await prisma.signingKey.update({ where: { kid: first }, data: { retiredAt: new Date(Date.now() - 1) } });
    await keys.reload();
    expect(keys.jwks.keys.map((jwk) => jwk.kid)).not.toContain(first);
    expect(await keys.publicPem(first)).toBeNull();
  });

  test("of another process are found by their kid, without a restart", async () => {
    const keys = await open();
    const next = await prisma.$transaction((tx) => addSigningKey(tx, masterKey, null));
    expect(await until("the new key", () => keys.publicPem(next), 10_000)).toContain("BEGIN PUBLIC KEY");
  });

  test("that nobody has cost at most one query per gap, however many are asked for", async () => {
    let queries = 0;
    const counting = prisma.$extends({
      query: {
        signingKey: {
          findMany: ({ args, query }) => {
            queries += 1;
            return query(args);
          },
        },
      },
    }) as unknown as PrismaClient;
    const keys = await open(counting);
    queries = 0;
    const found = await Promise.all(
      Array.from({ length: 500 }, (_, index) => keys.publicPem(`made-up-${index}`)),
    );
    expect(found.every((pem) => pem === null)).toBe(true);
    expect(queries).toBeLessThanOrEqual(1);
  });

  test("work on a machine whose clock is behind the one that made them", async () => {
    const kid = await prisma.$transaction((tx) =>
      addSigningKey(tx, masterKey, new Date(Date.now() + 60_000)),
    );
    const keys = await open();
    expect(keys.active.kid).toBe(kid);
    expect(await database.query("SELECT kid FROM signing_keys")).toHaveLength(1);
  });
});
