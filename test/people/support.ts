import { pino } from "pino";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { loadConfig } from "../../src/config.js";
import { ATTEMPT_LIMITS, type AttemptLimits } from "../../src/domain/people/attempts.js";
import { ensureBootstrapToken } from "../../src/domain/people/bootstrap-token.js";
import { hashPassword } from "../../src/domain/people/passwords.js";
import type { People } from "../../src/domain/people/people.js";
import type { Sessions } from "../../src/domain/people/sessions.js";
import type { Visit } from "../../src/domain/people/visit.js";
import { buildPeople } from "../../src/people.js";
import { Counters, LocalCounterStore } from "../../src/platform/counters.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { AppError } from "../../src/platform/errors.js";
import { newId } from "../../src/platform/ids.js";
import { createPrisma, type PrismaClient } from "../../src/platform/prisma.js";
import { Database } from "../../src/platform/sql.js";
import { createDatabase, type TestDatabase } from "../support/database.js";

/** A clock that stands still until it is told otherwise. */
export class TestClock {
  #now = new Date("2026-06-01T12:00:00.000Z");

  now(): Date {
    return new Date(this.#now);
  }

  advance(ms: number): void {
    this.#now = new Date(this.#now.getTime() + ms);
  }
}

export interface PeopleProcess {
  readonly people: People;
  readonly sessions: Sessions;
}

/** An installation as far as people go: no http, a clock to turn. */
export interface PeopleHarness extends PeopleProcess {
  readonly database: TestDatabase;
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly clock: TestClock;
  readonly organizationId: string;
  /** Made at the first start, and told once. */
  readonly bootstrapToken: string;
  /** One more process on the same database. */
  another(env?: Readonly<Record<string, string>>, limits?: AttemptLimits): PeopleProcess;
  /** Nobody has signed up yet. */
  reset(): Promise<void>;
  /** An owner with `PASSWORD`, as if it had signed up: all get the same hash, which was made once. */
  addOwner(username: string): Promise<void>;
  close(): Promise<void>;
}

export async function openPeople(env: Readonly<Record<string, string>> = {}): Promise<PeopleHarness> {
  const database = await createDatabase();
  const logger = pino({ level: "silent" });
  const masterKey = new MasterKey(MasterKey.generate());
  const prisma = createPrisma(database.url, 8);
  const db = new Database(database.url, 2, logger);
  const clock = new TestClock();
  await bootstrap(prisma, masterKey);
  const told: string[] = [];
  await ensureBootstrapToken(prisma, masterKey, (token) => void told.push(token));
  const { id: organizationId } = await prisma.organization.findFirstOrThrow();
  const counters: Counters[] = [];
  let passwordHash: string | undefined;
  const another: PeopleHarness["another"] = (more = {}, limits = ATTEMPT_LIMITS) => {
    const local = new Counters(new LocalCounterStore(), logger);
    counters.push(local);
    const config = loadConfig({ ...env, ...more }, "/tmp");
    const runtime = { config, logger, prisma, db, masterKey };
    return buildPeople(runtime, { clock, counters: local }, undefined, limits);
  };
  return {
    ...another(),
    ...{ database, prisma, masterKey, clock, organizationId, bootstrapToken: told[0] ?? "", another },
    async reset() {
      await prisma.user.deleteMany();
      await prisma.$executeRaw`UPDATE settings SET value = jsonb_set(value, '{usedBy}', 'null')`;
    },
    async addOwner(username) {
      const { email } = person(username);
      passwordHash ??= await hashPassword(PASSWORD);
      await prisma.user.create({
        data: {
          ...{ id: newId(), organizationId, username, email, passwordHash },
          ...{ role: "owner", allProjects: true, createdBy: username },
        },
      });
    },
    async close() {
      for (const local of counters) await local.close();
      await prisma.$disconnect();
      await db.close();
      await database.drop();
    },
  };
}

let visits = 0;

/** A visit from far away, each from an address of its own unless one is given. */
export function visit(more: Partial<Visit> = {}): Visit {
  visits += 1;
  return {
    address: `203.0.${Math.floor(visits / 250)}.${visits % 250}`,
    requestId: `request-${visits}`,
    userAgent: "a browser",
    local: false,
    sessionSecret: null,
    ...more,
  };
}

export const PASSWORD = "correct horse battery staple";

export function person(username: string, more: { password?: string; bootstrapToken?: string } = {}) {
  return { username, email: `${username}@example.com`, password: PASSWORD, bootstrapToken: null, ...more };
}

/** The failure of something that has to fail. */
export async function failureOf(work: Promise<unknown>): Promise<AppError> {
  const thrown = await work.then(
    () => null,
    (error: unknown) => error,
  );
  if (thrown instanceof AppError) return thrown;
  throw new Error(`it was to fail as it should, and did this: ${String(thrown)}`, { cause: thrown });
}
