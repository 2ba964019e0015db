import { AppError } from "../platform/errors.js";
import type { Logger } from "../platform/logger.js";
import type { Signals } from "../platform/signals.js";
import type { Database, Sql } from "../platform/sql.js";

/** Access tokens that were taken back before their time (RFC 7009), held in memory. */
export interface Denylist {
  /** Whether a token was revoked, by memory; null while memory is not fresh. */
  recall(jti: string): boolean | null;
  /** The same, from the database where memory is not fresh; rejects with `unavailable` when it cannot be asked. */
  has(jti: string): Promise<boolean>;
  /**
   * Takes a token back; every process knows within a second.
   * @param also done in the same transaction, where the token was not taken back before
   */
  revoke(jti: string, expiresAt: Date, also?: (tx: Sql) => Promise<void>): Promise<void>;
  /** Resolves when memory holds what the database holds: before that a process is not ready. */
  readonly loaded: Promise<void>;
  close(): void;
}

export interface DenylistDeps {
  readonly sql: Database;
  readonly signals: Signals;
  readonly logger: Logger;
}

const MAX_AGE_MS = 1_000;
const REFRESH_MS = 500;
const PRUNE_EVERY_MS = 60_000;
/**
 * Numbers are drawn before their rows are committed, so a row can appear after one with a higher number: that
 * many are asked for again each time.
 */
const OVERLAP = 1_000;

const SINCE = {
  name: "revoked_since",
  text: `SELECT jti, sequence, extract(epoch FROM expires_at)::float8 * 1000 AS "expiresAt" FROM revoked_tokens
         WHERE sequence > $1 AND expires_at > now()`,
};
const ONE = { name: "revoked_one", text: "SELECT 1 FROM revoked_tokens WHERE jti = $1" };
const ADD = {
  name: "revoked_add",
  text: "INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
};
const PRUNE = `DELETE FROM revoked_tokens WHERE jti IN
  (SELECT jti FROM revoked_tokens WHERE expires_at < now() LIMIT 5000)`;

/** Loads what there is, then keeps up with it by signals and one query every 500 ms. */
export function openDenylist(deps: DenylistDeps): Denylist {
  return new StoredDenylist(deps);
}

class StoredDenylist implements Denylist {
  readonly #deps: DenylistDeps;
  /** Until when each revoked token would have been good (milliseconds since 1970). */
  readonly #revoked = new Map<string, number>();
  readonly #timers: readonly NodeJS.Timeout[];
  readonly #unsubscribe: () => void;
  readonly loaded: Promise<void>;
  #sequence = 0;
  #syncedAt = -Infinity;
  #syncing: Promise<void> | null = null;
  #failing = false;

  constructor(deps: DenylistDeps) {
    this.#deps = deps;
    this.#unsubscribe = deps.signals.subscribe("access.changed", () => void this.#sync());
    this.#timers = [
      setInterval(() => void this.#sync(), REFRESH_MS).unref(),
      setInterval(() => void this.#prune(), PRUNE_EVERY_MS).unref(),
    ];
    this.loaded = this.#untilSynced();
  }

  recall(jti: string): boolean | null {
    if (this.#revoked.has(jti)) return true;
    return performance.now() - this.#syncedAt <= MAX_AGE_MS ? false : null;
  }

  async has(jti: string): Promise<boolean> {
    return this.recall(jti) ?? this.#ask(jti);
  }

  async revoke(jti: string, expiresAt: Date, also?: (tx: Sql) => Promise<void>): Promise<void> {
    await this.#deps.sql.transaction(async (tx) => {
      if ((await tx.run(ADD, [jti, expiresAt])) > 0) await also?.(tx);
    });
    this.#revoked.set(jti, expiresAt.getTime());
    await this.#deps.signals.publish("access.changed", "");
  }

  close(): void {
    this.#unsubscribe();
    for (const timer of this.#timers) clearInterval(timer);
  }

  async #ask(jti: string): Promise<boolean> {
    try {
      return (await this.#deps.sql.rows(ONE, [jti])).length > 0;
    } catch (cause) {
      const details = { retryAfter: 1 };
      throw new AppError("unavailable", "access cannot be checked at the moment", { details, cause });
    }
  }

  async #untilSynced(): Promise<void> {
    while (this.#syncedAt === -Infinity) {
      await this.#sync();
      if (this.#syncedAt === -Infinity)
        await new Promise((resolve) => setTimeout(resolve, REFRESH_MS).unref());
    }
  }

  /** Never rejects. A signal that comes while one runs is made up for by the next turn of the timer. */
  #sync(): Promise<void> {
    this.#syncing ??= this.#read().finally(() => {
      this.#syncing = null;
    });
    return this.#syncing;
  }

  async #read(): Promise<void> {
    const sentAt = performance.now();
    try {
      const rows = await this.#deps.sql.rows<{ jti: string; sequence: string; expiresAt: number }>(SINCE, [
        Math.max(0, this.#sequence - OVERLAP),
      ]);
      for (const { jti, sequence, expiresAt } of rows) {
        this.#revoked.set(jti, expiresAt);
        this.#sequence = Math.max(this.#sequence, Number(sequence));
      }
      this.#syncedAt = sentAt;
      this.#failing = false;
    } catch (error) {
      if (!this.#failing)
        this.#deps.logger.warn({ err: error }, "the list of revoked tokens could not be read");
      this.#failing = true;
    }
  }

  async #prune(): Promise<void> {
    const now = Date.now();
    for (const [jti, expiresAt] of this.#revoked) if (expiresAt < now) this.#revoked.delete(jti);
    await this.#deps.sql.run(PRUNE).catch(() => {});
  }
}
