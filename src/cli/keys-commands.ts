import { readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { rotateKeys } from "../auth/key-rotation.js";
import { openMasterKey } from "../auth/master-keys.js";
import { auditSystem } from "../auth/system-audit.js";
import { type Config, loadConfig } from "../config.js";
import { systemClock } from "../platform/clock.js";
import type { MasterKey } from "../platform/crypto.js";
import { messageOf } from "../platform/errors.js";
import { createLogger } from "../platform/logger.js";
import { createPrisma, type PrismaClient } from "../platform/prisma.js";
import { Database } from "../platform/sql.js";
import { masterKeyMaterial } from "../prepare.js";
import { EXIT } from "../shutdown.js";
import { countOldHashes, type RewrapProgress, rewrap } from "./keys-rewrap.js";

type Env = Readonly<Record<string, string | undefined>>;

/** What a command works on. */
interface Bench {
  readonly prisma: PrismaClient;
  readonly db: Database;
  readonly masterKey: MasterKey;
}

interface Command {
  readonly usage: string;
  readonly summary: string;
  /** Resolves to the exit code. */
  run(bench: Bench): Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  list: { usage: "keys list", summary: "the signing keys and what each is for now", run: list },
  rotate: {
    usage: "keys rotate",
    summary: "publish a new signing key, which takes over when every process knows it",
    run: rotate,
  },
  rewrap: {
    usage: "keys rewrap",
    summary:
      "encrypt everything anew, after GATEHOUSE_MASTER_KEY was changed (old one: GATEHOUSE_MASTER_KEY_OLD)",
    run: rewrapAll,
  },
};

const HELP = Object.values(COMMANDS)
  .map(({ usage, summary }) => `  gatehouse ${usage.padEnd(12)}  ${summary}`)
  .join("\n");

/** `gatehouse keys ...`, on the database of the environment. Resolves to the exit code. */
export async function runKeys(args: readonly string[], env: Env, cwd: string): Promise<number> {
  const [name = ""] = args;
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined || args.length > 1) {
    console.error(`gatehouse: one of\n${HELP}`);
    return EXIT.usage;
  }
  try {
    const config = loadConfig(env, cwd);
    return await withBench(config, (bench) => command.run(bench));
  } catch (error) {
    console.error(`gatehouse: ${messageOf(error)}`);
    return EXIT.failed;
  }
}

async function withBench(config: Config, work: (bench: Bench) => Promise<number>): Promise<number> {
  const databaseUrl = config.databaseUrl ?? (await embeddedUrl(config));
  const masterKey = openMasterKey(await masterKeyMaterial(config), config.oldMasterKeys);
  const prisma = createPrisma(databaseUrl, 2);
  const db = new Database(databaseUrl, 2, createLogger("warn", "keys"));
  try {
    return await work({ prisma, db, masterKey });
  } finally {
    await prisma.$disconnect();
    await db.close();
  }
}

/** Of the embedded server, while it runs: only the user that started it can read where that is. */
async function embeddedUrl({ home }: Config): Promise<string> {
  const file = join(home, "postgres/admin-url");
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new Error(
      `${file} cannot be read: start Gatehouse first, and run this as the same user, in its folder and with its GATEHOUSE_HOME`,
      { cause },
    );
  });
  const url = new URL(text.trim());
  url.pathname = "/gatehouse";
  return url.href;
}

async function list({ prisma }: Bench): Promise<number> {
  const keys = await prisma.signingKey.findMany({ orderBy: [{ activatedAt: "asc" }, { createdAt: "asc" }] });
  const now = systemClock.now();
  const signing = keys.findLast(({ activatedAt }) => activatedAt !== null && activatedAt <= now)?.kid;
  for (const { kid, keyId, activatedAt, retiredAt } of keys) {
    console.log(
      `${kid}  ${stateOf({ activatedAt, retiredAt }, now, kid === signing)}  (master key ${keyId})`,
    );
  }
  return EXIT.ok;
}

interface KeyTimes {
  readonly activatedAt: Date | null;
  readonly retiredAt: Date | null;
}

function stateOf({ activatedAt, retiredAt }: KeyTimes, now: Date, signs: boolean): string {
  if (retiredAt !== null && retiredAt <= now) return "is retired";
  if (signs) return "signs";
  if (activatedAt === null) return "is published";
  if (activatedAt > now) return `signs from ${activatedAt.toISOString()} on`;
  return retiredAt === null ? "verifies" : `verifies until ${retiredAt.toISOString()}`;
}

async function rotate({ prisma, masterKey }: Bench): Promise<number> {
  const by = `gatehouse keys rotate (${userInfo().username})`;
  const { kid, activatesAt, started } = await rotateKeys({ prisma, masterKey, clock: systemClock }, by);
  const when = activatesAt.toISOString();
  console.log(
    started
      ? `Signing key ${kid} is published, and signs from ${when} on. The former keys verify until the last of\ntheir tokens has expired. There is nothing else to do.`
      : `A rotation is under way already: signing key ${kid} signs from ${when} on.`,
  );
  return EXIT.ok;
}

async function rewrapAll({ prisma, db, masterKey }: Bench): Promise<number> {
  const say = ({ table, done, left }: RewrapProgress): void => {
    if (done > 0 || left > 0)
      console.log(
        `${table}: ${done} encrypted anew${left > 0 ? `, ${left} open under no key that was given` : ""}`,
      );
  };
  const { done, left } = await rewrap(db, masterKey, say);
  await auditSystem(prisma, `gatehouse keys rewrap (${userInfo().username})`, {
    ...{ action: "keys.rewrap", target: { type: "masterKey", id: masterKey.id } },
    details: { done, left },
  });
  console.log(`${done} rows were encrypted anew under master key ${masterKey.id}.`);
  for (const { table, count } of await countOldHashes(db, masterKey.id)) {
    console.log(`${table}: ${count} hashes are under another key; each moves when its secret is used`);
  }
  return left === 0 ? EXIT.ok : EXIT.failed;
}
