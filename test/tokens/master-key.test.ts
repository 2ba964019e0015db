import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { hashedSecret } from "../../src/auth/clients.js";
import { keysOf, MasterKeyRing, openMasterKey } from "../../src/auth/master-keys.js";
import { runKeys } from "../../src/cli/keys-commands.js";
import { rewrap } from "../../src/cli/keys-rewrap.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { newId } from "../../src/platform/ids.js";
import { Database } from "../../src/platform/sql.js";
import { until } from "../support/until.js";
import { type Fleet, type Instance, openFleet } from "./support.js";

const OLD = MasterKey.generate();
const NEW = MasterKey.generate();
const oldKey = new MasterKey(OLD);
const newKey = new MasterKey(NEW);
/** What processes have while the key is changed. */
const ring = openMasterKey(NEW, OLD);

let fleet: Fleet;
let db: Database;

beforeAll(async () => {
  fleet = await openFleet({ masterKey: OLD });
  db = new Database(fleet.database.url, 2, { warn: () => {} } as never);
});
afterAll(async () => {
  await db.close();
  await fleet.close();
});

describe("a ring of master keys", () => {
  test("writes under the first, and reads what is under any", () => {
    const sealed = oldKey.encrypt("connection-secrets", "a row", "text");
    expect(ring.decrypt("connection-secrets", "a row", sealed).toString()).toBe("text");
    const anew = ring.encrypt("connection-secrets", "a row", "text");
    expect(newKey.decrypt("connection-secrets", "a row", anew).toString()).toBe("text");
    expect(() => oldKey.decrypt("connection-secrets", "a row", anew)).toThrow();
    expect(() => ring.decrypt("connection-secrets", "another row", sealed)).toThrow();
    expect(ring.id).toBe(newKey.id);
    expect(ring.hash("sessions", "x")).toEqual(newKey.hash("sessions", "x"));
  });

  test("of one key is that key, however often it is named", () => {
    expect(openMasterKey(NEW, "")).not.toBeInstanceOf(MasterKeyRing);
    expect(keysOf(openMasterKey(NEW, ` ${NEW} ,${NEW}`)).map(({ id }) => id)).toEqual([newKey.id]);
    expect(keysOf(openMasterKey(NEW, `${OLD},${NEW}`)).map(({ id }) => id)).toEqual([newKey.id, oldKey.id]);
    expect(() => openMasterKey(NEW, "short")).toThrow("32 random bytes");
  });
});

describe("the change of the master key", () => {
  const apiKey = "gh_the-key-of-the-test";
  const rows = { connection: newId(), operation: newId(), apiKey: newId(), webhookSecret: newId() };

  beforeAll(async () => {
    const { organizationId, projectId } = fleet;
    await fleet.prisma.connection.create({
      data: {
        ...{ id: rows.connection, organizationId, projectId, role: "source", name: "a", type: "postgres" },
        ...{ version: "1", config: {}, createdBy: "a test", updatedBy: "a test", keyId: oldKey.id },
        secrets: oldKey.encrypt("connection-secrets", rows.connection, '{"password":"p"}'),
      },
    });
    await fleet.prisma.operation.create({
      data: {
        ...{ id: rows.operation, organizationId, operationType: "connection.check", timeoutSeconds: 10 },
        ...{ resourceType: "connection", resourceId: rows.connection, createdBy: {} },
        payloadSecrets: oldKey.encrypt("operation-payloads", rows.operation, "payload"),
      },
    });
    await fleet.prisma.webhook.create({
      data: {
        ...{
          id: newId(),
          organizationId,
          url: "https://hooks.example.com/",
          events: ["*"],
          createdBy: "a test",
        },
        secrets: {
          create: {
            ...{ id: rows.webhookSecret, keyId: oldKey.id },
            sealed: oldKey.encrypt("webhook-secrets", rows.webhookSecret, "a webhook's key"),
          },
        },
      },
    });
    await fleet.prisma.apiKey.create({
      data: {
        ...{ id: rows.apiKey, organizationId, key: "a", name: "a key", prefix: "gh_the" },
        ...{ hash: oldKey.hash("api-keys", apiKey), keyId: oldKey.id, scopes: ["job:read"] },
        ...{ allProjects: true, createdBy: "a test" },
      },
    });
  });

  test("keeps tokens, secrets and API keys, before and after the rows are rewrapped", async () => {
    const before = await fleet.open({ masterKey: oldKey });
    const token = await before.token(fleet.admin);
    await before.close();

    // Everything is under the old key; the process has both.
    const during = await fleet.open({ masterKey: ring });
    await expectAll(during, token);
    expect(await rewrap(db, ring, () => {})).toEqual({ done: 4, left: 0 });
    await expectAll(during, token);
    await during.close();

    // Nothing encrypted needs the old key any more, and what was used is hashed under the new one.
    await until("the hashes that were used have moved", async () => {
      const [moved] = await fleet.database.query<{ count: number }>(
        `SELECT count(*)::int AS count FROM (SELECT key_id FROM api_client_secrets UNION ALL SELECT key_id FROM api_keys)
         AS hashes WHERE key_id = $1`,
        [newKey.id],
      );
      return moved?.count === 2;
    });
    const after = await fleet.open({ masterKey: newKey });
    await expectAll(after, token);
    const { secrets } = await fleet.prisma.connection.findUniqueOrThrow({ where: { id: rows.connection } });
    const opened = newKey.decrypt("connection-secrets", rows.connection, secrets ?? new Uint8Array());
    expect(opened.toString()).toBe('{"password":"p"}');
    const { sealed } = await fleet.prisma.webhookSecret.findUniqueOrThrow({
      where: { id: rows.webhookSecret },
    });
    const key = newKey.decrypt("webhook-secrets", rows.webhookSecret, sealed);
    expect(key.toString()).toBe("a webhook's key");
    await after.close();
  });

  async function expectAll(instance: Instance, token: string): Promise<void> {
    expect((await instance.call(token)).status).toBe(200);
    expect((await instance.call(apiKey)).status).toBe(200);
    expect((await instance.call(await instance.token(fleet.admin))).status).toBe(200);
  }

  test("changes nothing for the client of the environment: its tokens live on through a restart", async () => {
    const { clientId, clientSecret } = fleet.admin;
    const api = await fleet.open({ masterKey: ring });
    const token = await api.token(fleet.admin);
    // As every start does, under one key and the other.
    for (const key of [openMasterKey(OLD, NEW), ring]) {
      await bootstrap(fleet.prisma, key, { clientId, clientSecret });
      const { secrets } = await fleet.prisma.apiClient.findUniqueOrThrow({
        where: { clientId },
        include: { secrets: true },
      });
      expect(secrets.map(({ keyId }) => keyId)).toEqual([key.id]);
      expect((await api.access.records.reload(clientId))?.generation).toBe(1);
      expect((await api.call(token)).status).toBe(200);
    }
    await api.close();
  });

  test("can be broken off anywhere and goes on where it was", async () => {
    const ids = await sealMany(450);
    let statements = 0;
    const dying = new Database(fleet.database.url, 1, { warn: () => {} } as never);
    const { rows: read } = dying;
    // Dies between batches.
    dying.rows = ((...args: Parameters<typeof read>) => {
      statements += 1;
      if (statements > 4) throw new Error("killed");
      return read.apply(dying, args);
    }) as typeof read;
    await expect(rewrap(dying, ring, () => {})).rejects.toThrow("killed");
    await dying.close();
    const under = await countUnder(ids);
    expect(under).toBeGreaterThan(0);
    expect(under).toBeLessThan(ids.length);
    const { done, left } = await rewrap(db, ring, () => {});
    expect([done, left]).toEqual([ids.length - under, 0]);
    expect(await countUnder(ids)).toBe(ids.length);
    expect(await rewrap(db, ring, () => {})).toEqual({ done: 0, left: 0 });
  });

  test("leaves what opens under no key, and says how much that is", async () => {
    const [id] = await sealMany(1, new MasterKey(MasterKey.generate()));
    expect(await rewrap(db, ring, () => {})).toEqual({ done: 0, left: 1 });
    await fleet.prisma.operation.delete({ where: { id: id ?? "" } });
  });

  test("is a command that says what was done and what still needs the old key", async () => {
    const { id: clientId } = await fleet.newClient();
    await fleet.prisma.apiClientSecret.create({
      data: { id: newId(), clientId, ...hashedSecret(oldKey, "a secret that is never used") },
    });
    await sealMany(3);
    const lines: string[] = [];
    const { log } = console;
    console.log = (text: string) => void lines.push(text);
    const env = {
      DATABASE_URL: fleet.database.url,
      GATEHOUSE_MASTER_KEY: NEW,
      GATEHOUSE_MASTER_KEY_OLD: OLD,
    };
    try {
      expect(await runKeys(["rewrap"], env, "/")).toBe(0);
    } finally {
      console.log = log;
    }
    expect(lines.join("\n")).toMatch(/3 rows were encrypted anew under master key [0-9a-f]{16}/);
    expect(lines.join("\n")).toMatch(/api_client_secrets: \d+ hashes are under another key/);
  });

  test("without the old key says that it is missing", async () => {
    await expect(rewrap(db, newKey, () => {})).rejects.toThrow("GATEHOUSE_MASTER_KEY_OLD");
  });

  async function sealMany(count: number, key = oldKey): Promise<string[]> {
    const ids = Array.from({ length: count }, () => newId());
    await fleet.prisma.operation.createMany({
      data: ids.map((id) => ({
        ...{ id, organizationId: fleet.organizationId, operationType: "x", timeoutSeconds: 1, createdBy: {} },
        ...{ resourceType: "x", resourceId: id, status: "succeeded" as const },
        payloadSecrets: key.encrypt("operation-payloads", id, "payload"),
      })),
    });
    return ids;
  }

  async function countUnder(ids: readonly string[]): Promise<number> {
    const found = await fleet.prisma.operation.findMany({ where: { id: { in: [...ids] } } });
    return found.filter(({ id, payloadSecrets }) => {
      try {
        newKey.decrypt("operation-payloads", id, payloadSecrets ?? new Uint8Array());
        return true;
      } catch {
        return false;
      }
    }).length;
  }
});
