import { randomBytes } from "node:crypto";
import { link, mkdir, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type BootstrapCredentials, bootstrap } from "./auth/bootstrap.js";
import type { Config } from "./config.js";
import { ensureBootstrapToken } from "./domain/people/bootstrap-token.js";
import { migrateQueue } from "./operations/queue.js";
import { MasterKey } from "./platform/crypto.js";
import { migrate } from "./platform/migrate.js";
import { createPrisma } from "./platform/prisma.js";

const MIGRATIONS = join(import.meta.dirname, "../prisma/migrations");

/** The master key of the configuration, else the one kept under `home`, made at the first start (mode 0600). */
export async function masterKeyMaterial(config: Config): Promise<string> {
  if (config.masterKey !== null) return config.masterKey;
  const file = join(config.home, "master.key");
  const read = (): Promise<string | null> => readFile(file, "utf8").catch(() => null);
  const kept = await read();
  if (kept !== null) return kept.trim();
  await mkdir(config.home, { recursive: true, mode: 0o700 });
  await writeOnce(file, `${MasterKey.generate()}\n`);
  // Of two first starts at once one has written: both read what stands there.
  return ((await read()) ?? "").trim();
}

/** Writes a whole file or nothing; a file that is there already stays. */
async function writeOnce(file: string, content: string): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString("hex")}`;
  const handle = await open(temporary, "wx", 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await link(temporary, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(temporary, { force: true });
}

/** What the operator is told at the first start, once: only hashes are kept. */
export type FirstCredential = BootstrapCredentials | { readonly bootstrapToken: string };

/**
 * Brings the database up to date and makes what an empty installation needs. Safe in several processes at once.
 * @param announce tells the operator the first credentials: the administrator's client, and the token of the first
 * sign-up
 */
export async function prepareDatabase(
  config: Config,
  databaseUrl: string,
  masterKey: MasterKey,
  announce: (credential: FirstCredential) => void,
): Promise<void> {
  await migrate(databaseUrl, MIGRATIONS);
  if (config.redisUrl === null) await migrateQueue(databaseUrl);
  const prisma = createPrisma(databaseUrl, 1);
  try {
    await bootstrap(prisma, masterKey, {
      clientId: config.bootstrapClientId,
      clientSecret: config.bootstrapClientSecret,
      announce,
    });
    await ensureBootstrapToken(prisma, masterKey, (bootstrapToken) => announce({ bootstrapToken }));
  } finally {
    await prisma.$disconnect();
  }
}
