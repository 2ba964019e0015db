import { Redis } from "ioredis";
import { LRUCache } from "lru-cache";
import type { Logger } from "./logger.js";
import type { Sql } from "./sql.js";

/** How often counts are exchanged with the other processes: what a limit may be overrun by is what comes within. */
const EXCHANGE_MS = 250;
const MAX_KEYS = 50_000;

/** One window of one key; windows begin at whole multiples of their length. */
interface Window {
  readonly key: string;
  readonly startsAt: number;
  readonly endsAt: number;
  /** Of all processes, as of the last exchange. */
  known: number;
  /** Of this process since then. */
  pending: number;
  /** Being sent. */
  sent: number;
}

export interface Count {
  /** Of all processes, this hit included, as far as this process knows. */
  readonly count: number;
  /** Milliseconds until the window ends. */
  readonly resetsInMs: number;
}

/** Increments to add, and the totals that come of them, in the same order. */
export interface CounterStore {
  add(
    increments: readonly {
      readonly key: string;
      readonly startsAt: number;
      readonly endsAt: number;
      readonly by: number;
    }[],
  ): Promise<number[]>;
  close(): Promise<void>;
}

/**
 * Counts per key and fixed window, shared between the processes of an installation without a question per hit:
 * each counts in memory and exchanges its increments for the totals four times a second. While the store is away
 * every process counts for itself.
 */
export class Counters {
  readonly #store: CounterStore;
  readonly #logger: Logger;
  readonly #windows = new LRUCache<string, Window>({ max: MAX_KEYS });
  readonly #changed = new Set<Window>();
  readonly #timer: NodeJS.Timeout;
  #exchanging: Promise<void> | null = null;
  /** The latest time that anybody told. */
  #now = 0;

  constructor(store: CounterStore, logger: Logger) {
    this.#store = store;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.exchange(), EXCHANGE_MS).unref();
  }

  /** Adds to the count of a key in the present window of `windowMs`. */
  hit(key: string, windowMs: number, now: number): Count {
    const window = this.#window(key, windowMs, now);
    window.pending += 1;
    this.#changed.add(window);
    return count(window, now);
  }

  /** The count, nothing added. */
  peek(key: string, windowMs: number, now: number): Count {
    return count(this.#window(key, windowMs, now), now);
  }

  #window(key: string, windowMs: number, now: number): Window {
    this.#now = Math.max(this.#now, now);
    const known = this.#windows.get(key);
    if (known !== undefined && known.endsAt > now) return known;
    const startsAt = Math.floor(now / windowMs) * windowMs;
    const window = { key, startsAt, endsAt: startsAt + windowMs, known: 0, pending: 0, sent: 0 };
    this.#windows.set(key, window);
    return window;
  }

  /** Sends what was counted, and learns what the others have. Never rejects. */
  exchange(): Promise<void> {
    if (this.#exchanging !== null) return this.#exchanging;
    const windows = [...this.#changed];
    if (windows.length === 0) return Promise.resolve();
    this.#changed.clear();
    this.#exchanging = this.#send(windows).finally(() => {
      this.#exchanging = null;
    });
    return this.#exchanging;
  }

  async #send(windows: readonly Window[]): Promise<void> {
    for (const window of windows) {
      window.sent = window.pending;
      window.pending = 0;
    }
    try {
      const totals = await this.#store.add(windows.map((window) => ({ ...window, by: window.sent })));
      for (const [index, window] of windows.entries())
        window.known = totals[index] ?? window.known + window.sent;
    } catch (error) {
      this.#logger.debug({ err: error }, "counts could not be exchanged; this process counts for itself");
      for (const window of windows) {
        window.pending += window.sent;
        // What is over limits nobody: it would wait in vain, and with many others for as long as the store is away.
        if (window.endsAt > this.#now) this.#changed.add(window);
      }
    } finally {
      for (const window of windows) window.sent = 0;
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.exchange();
    await this.#store.close();
  }
}

function count({ known, sent, pending, endsAt }: Window, now: number): Count {
  return { count: known + sent + pending, resetsInMs: endsAt - now };
}

const ADD = {
  name: "rate_windows_add",
  text: `INSERT INTO rate_windows (key, starts_at, count, expires_at)
         SELECT key, to_timestamp(starts_at / 1000.0), by, to_timestamp(ends_at / 1000.0)
         FROM unnest($1::text[], $2::float8[], $3::float8[], $4::int[]) AS wanted(key, starts_at, ends_at, by)
         ORDER BY key
         ON CONFLICT (key, starts_at) DO UPDATE SET count = rate_windows.count + excluded.count
         RETURNING key, extract(epoch FROM starts_at)::float8 * 1000 AS "startsAt", count`,
};

const PRUNE = `DELETE FROM rate_windows WHERE ctid IN
  (SELECT ctid FROM rate_windows WHERE expires_at < now() LIMIT 5000)`;
const PRUNE_EVERY_MS = 60_000;

/** Counts in PostgreSQL, for installations without Redis. */
export class PostgresCounterStore implements CounterStore {
  readonly #sql: Sql;
  readonly #prune: NodeJS.Timeout;

  constructor(sql: Sql) {
    this.#sql = sql;
    this.#prune = setInterval(() => void sql.run(PRUNE).catch(() => {}), PRUNE_EVERY_MS).unref();
  }

  async add(asked: Parameters<CounterStore["add"]>[0]): Promise<number[]> {
    const increments = asked.map(({ key, ...increment }) => ({ key: storedKey(key), ...increment }));
    const rows = await this.#sql.rows<{ key: string; startsAt: number; count: number }>(ADD, [
      increments.map(({ key }) => key),
      increments.map(({ startsAt }) => startsAt),
      increments.map(({ endsAt }) => endsAt),
      increments.map(({ by }) => by),
    ]);
    const totals = new Map(rows.map(({ key, startsAt, count: total }) => [`${key} ${startsAt}`, total]));
    return increments.map(({ key, startsAt, by }) => totals.get(`${key} ${startsAt}`) ?? by);
  }

  async close(): Promise<void> {
    clearInterval(this.#prune);
  }
}

/**
 * A key as text that can be stored, and is no other key's: keys hold what strangers sent, and one that cannot be
 * stored (NUL), or comes twice, would keep all others from being exchanged.
 */
function storedKey(key: string): string {
  return JSON.stringify(key).slice(1, -1);
}

/** Counts of this process alone: nothing is exchanged. */
export class LocalCounterStore implements CounterStore {
  readonly #totals = new LRUCache<string, number>({ max: MAX_KEYS });

  async add(increments: Parameters<CounterStore["add"]>[0]): Promise<number[]> {
    return increments.map(({ key, startsAt, by }) => {
      const total = (this.#totals.get(`${key} ${startsAt}`) ?? 0) + by;
      this.#totals.set(`${key} ${startsAt}`, total);
      return total;
    });
  }

  async close(): Promise<void> {}
}

/** Counts in Redis. */
export class RedisCounterStore implements CounterStore {
  readonly #redis: Redis;

  constructor(redisUrl: string, logger: Logger) {
    this.#redis = new Redis(redisUrl, {
      maxRetriesPerRequest: 1,
      commandTimeout: 1_000,
      enableOfflineQueue: false,
    });
    this.#redis.on("error", (error) => logger.debug({ err: error }, "redis connection for counts"));
  }

  async add(increments: Parameters<CounterStore["add"]>[0]): Promise<number[]> {
    const pipeline = this.#redis.pipeline();
    for (const { key, startsAt, endsAt, by } of increments) {
      const name = `gatehouse:rate:${key}:${startsAt}`;
      pipeline.incrby(name, by).pexpireat(name, endsAt);
    }
    const results = (await pipeline.exec()) ?? [];
    return increments.map(({ by }, index) => {
      const [error, total] = results[index * 2] ?? [null, by];
      if (error !== null) throw error;
      return Number(total);
    });
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
  }
}
