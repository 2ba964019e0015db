import { LRUCache } from "lru-cache";
import type { Identity } from "../../auth/principal.js";
import type { Clock } from "../../platform/clock.js";
import type { MasterKey } from "../../platform/crypto.js";
import { newId, newSecret } from "../../platform/ids.js";
import type { Logger } from "../../platform/logger.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";
import type { SessionRecord, SessionRecords } from "./session-records.js";
import type { Visit } from "./visit.js";

/** How long sessions live. */
export interface SessionLifetime {
  /** From login to the end, whatever happens. */
  readonly absoluteMs: number;
  /** Without any request. */
  readonly idleMs: number;
}

export interface SessionDeps {
  readonly prisma: PrismaClient;
  readonly records: SessionRecords;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly lifetime: SessionLifetime;
}

/** A session that was opened: the only time that its secret is seen. */
export interface OpenedSession {
  readonly id: string;
  /** What the cookie holds. */
  readonly secret: string;
  /** How long the cookie is worth keeping. */
  readonly lifetimeMs: number;
}

/** A session that a request came with. */
export interface LiveSession {
  readonly id: string;
  readonly userId: string;
  readonly secret: string;
  readonly identity: Identity;
}

/** A session as a list shows it. */
export interface SessionView {
  readonly id: string;
  readonly createdAt: Date;
  readonly lastSeenAt: Date;
  readonly expiresAt: Date;
  readonly address: string | null;
  readonly userAgent: string | null;
}

/** 32 bytes as base64url: anything else was never a session, and no query is made. */
const SECRET = /^[A-Za-z0-9_-]{43}$/;
/** Use is written down at most that often: a busy session costs no write per request. */
const SEEN_EVERY_MS = 60_000;
const SEEN_KEPT = 10_000;
const PRUNE_BATCH = 200;
const LONGEST_USER_AGENT = 300;

/** Browser sessions of people: a secret in a cookie, its HMAC in a row (DESIGN.md section 5). */
export class Sessions {
  readonly #deps: SessionDeps;
  /** When this process last wrote down that a session is in use. */
  readonly #seen = new LRUCache<string, number>({ max: SEEN_KEPT });

  constructor(deps: SessionDeps) {
    this.#deps = deps;
  }

  /** The keys that a session's record may have, by what its cookie holds; none for what cannot be a session. */
  #keysOf(secret: string): string[] {
    if (!SECRET.test(secret)) return [];
    return this.#deps.masterKey.hashes("sessions", secret).map((hash) => Buffer.from(hash).toString("hex"));
  }

  async #recordOf(secret: string): Promise<SessionRecord | null> {
    for (const key of this.#keysOf(secret)) {
      const record = await this.#deps.records.get(key);
      if (record !== null) return record;
    }
    return null;
  }

  /**
   * Opens a session with a secret of its own, whatever the caller came with: nobody can choose it beforehand
   * (session fixation). One that the caller came with ends.
   * @param user with the generation under which its password was found right
   */
  async open(
    tx: PrismaTransaction,
    user: { readonly id: string; readonly generation: number },
    visit: Visit,
  ): Promise<OpenedSession> {
    const { masterKey, clock, lifetime } = this.#deps;
    if (visit.sessionSecret !== null) await this.#delete(tx, visit.sessionSecret);
    const [id, secret, now] = [newId(), newSecret(), clock.now()];
    const expiresAt = new Date(now.getTime() + lifetime.absoluteMs);
    await tx.session.create({
      data: {
        id,
        hash: masterKey.hash("sessions", secret),
        keyId: masterKey.id,
        userId: user.id,
        generation: user.generation,
        createdAt: now,
        lastSeenAt: now,
        expiresAt,
        address: visit.address,
        userAgent: visit.userAgent?.slice(0, LONGEST_USER_AGENT) ?? null,
      },
    });
    return { id, secret, lifetimeMs: lifetime.absoluteMs };
  }

  /** The session of a cookie while it lives, as its user may act now; else null. Puts off its idle end. */
  async find(secret: string): Promise<LiveSession | null> {
    const record = await this.#recordOf(secret);
    const now = this.#deps.clock.now().getTime();
    if (record === null || !isLive(record, now, this.#deps.lifetime)) return null;
    await this.#writeUse(record, now);
    return { id: record.id, userId: record.userId, secret, identity: record.identity };
  }

  /** Ends a session at once. False where there was none. */
  async end(secret: string): Promise<boolean> {
    return this.#delete(this.#deps.prisma, secret);
  }

  /**
   * Deletes all sessions of a user. Other processes know within a second, and by the user's generation even
   * where the rows stayed.
   * @returns call it after the commit, so that this process knows at once
   */
  async endAll(tx: PrismaTransaction, userId: string): Promise<() => void> {
    const rows = await tx.$queryRaw<{ hash: string }[]>`
      DELETE FROM sessions WHERE user_id = ${userId}::uuid RETURNING encode(hash, 'hex') AS hash`;
    return () => {
      for (const { hash } of rows) this.#deps.records.forget(hash);
    };
  }

  /** A user's live sessions, the newest first. */
  async list(userId: string): Promise<SessionView[]> {
    const { prisma, clock, lifetime } = this.#deps;
    const now = clock.now();
    const { generation } = await prisma.user.findUniqueOrThrow({
      where: { id: userId },
      select: { generation: true },
    });
    return prisma.session.findMany({
      where: {
        userId,
        generation,
        expiresAt: { gt: now },
        lastSeenAt: { gt: new Date(now.getTime() - lifetime.idleMs) },
      },
      orderBy: { id: "desc" },
      take: 200,
      select: {
        id: true,
        createdAt: true,
        lastSeenAt: true,
        expiresAt: true,
        address: true,
        userAgent: true,
      },
    });
  }

  /**
   * Deletes sessions whose time is over, a batch at most: called with every login, it deletes more than come.
   * @returns how many
   */
  async prune(): Promise<number> {
    const now = this.#deps.clock.now();
    // An array is looked for once; a plan may run a subquery of IN again and again, and lock more each time.
    return this.#deps.prisma.$executeRaw`
      DELETE FROM sessions WHERE id = ANY (ARRAY
        (SELECT id FROM sessions WHERE expires_at <= ${now}::timestamptz ORDER BY expires_at LIMIT ${PRUNE_BATCH}::int
           FOR UPDATE SKIP LOCKED))`;
  }

  async #delete(tx: PrismaTransaction, secret: string): Promise<boolean> {
    const keys = this.#keysOf(secret);
    const { count } = await tx.session.deleteMany({
      where: { hash: { in: keys.map((key) => new Uint8Array(Buffer.from(key, "hex"))) } },
    });
    for (const key of keys) this.#deps.records.forget(key);
    return count > 0;
  }

  /** What fails here fails no request: at worst the session ends a little early. */
  async #writeUse({ id, lastSeenAt }: SessionRecord, now: number): Promise<void> {
    const seen = Math.max(lastSeenAt, this.#seen.get(id) ?? 0);
    if (now - seen < SEEN_EVERY_MS) return;
    this.#seen.set(id, now);
    const at = new Date(now);
    await this.#deps.prisma.session
      .updateMany({ where: { id, lastSeenAt: { lt: at } }, data: { lastSeenAt: at } })
      .catch((error: unknown) => {
        this.#seen.delete(id);
        this.#deps.logger.warn({ err: error }, "the use of a session could not be written down");
      });
  }
}

function isLive(record: SessionRecord, now: number, { idleMs }: SessionLifetime): boolean {
  if (record.disabled || record.sessionGeneration !== record.generation) return false;
  return now < record.expiresAt && now - record.lastSeenAt < idleMs;
}
