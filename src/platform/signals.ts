import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";
import pg from "pg";
import { Batch } from "./batch.js";
import type { Logger } from "./logger.js";
import { UNHURRIED } from "./sql.js";

/** Channels between the processes of one installation. */
const CHANNELS = ["operation.changed", "access.changed", "webhook.due"] as const;
export type Channel = (typeof CHANNELS)[number];

/**
 * Publish and subscribe between processes. A signal says "look now" and may be lost (a reconnect, a wiped
 * Redis): whoever depends on one also looks at the database from time to time.
 */
export interface Signals {
  /** Never rejects: a signal that cannot be sent is lost. */
  publish(channel: Channel, payload: string): Promise<void>;
  /** Returns the end of the subscription. Signals of this process are heard too. */
  subscribe(channel: Channel, listener: (payload: string) => void): () => void;
  close(): Promise<void>;
}

const PREFIX = "gatehouse:";
const RECONNECT_MS = 500;
const CONNECT_LIMIT_MS = 10_000;
/** A start does not wait longer for Redis: without it work is accepted all the same. */
const PATIENCE_MS = 2_000;
/** A signal that took longer than this would be late. */
const COMMAND_LIMIT_MS = 2_000;

const NOTIFY = {
  name: "notify",
  text: `SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS signal (channel, payload)
         WHERE ${UNHURRIED}`,
};

class Listeners {
  readonly #byChannel = new Map<string, Set<(payload: string) => void>>();

  add(channel: string, listener: (payload: string) => void): () => void {
    const set = this.#byChannel.get(channel) ?? new Set();
    this.#byChannel.set(channel, set.add(listener));
    return () => set.delete(listener);
  }

  tell(channel: string, payload: string): void {
    for (const listener of this.#byChannel.get(channel) ?? []) listener(payload);
  }
}

/** Signals over LISTEN and NOTIFY; the listening connection is made again when it breaks. */
export class PostgresSignals implements Signals {
  readonly #listeners = new Listeners();
  readonly #databaseUrl: string;
  readonly #logger: Logger;
  /** Those of one turn of the event loop go together: an end says so for many at once. */
  readonly #published: Batch<readonly [channel: string, payload: string], void>;
  #client: pg.Client | null = null;
  #retry: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(databaseUrl: string, pool: pg.Pool, logger: Logger) {
    this.#databaseUrl = databaseUrl;
    this.#logger = logger;
    this.#published = new Batch<readonly [string, string], void>(async (signals) => {
      await pool.query({
        ...NOTIFY,
        values: [signals.map(([channel]) => channel), signals.map(([, payload]) => payload)],
      });
      return [];
    });
  }

  /** Starts to listen; later breaks are mended in the background. */
  async open(): Promise<this> {
    const client = new pg.Client({
      connectionString: this.#databaseUrl,
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      keepAlive: true,
      application_name: "signals",
    });
    let over = false;
    const broke = (error?: Error): void => {
      over = true;
      if (this.#client !== client) return;
      this.#client = null;
      this.#logger.warn({ err: error }, "the signal connection broke; connecting again");
      this.#reconnect();
    };
    client.on("error", broke);
    client.on("end", () => broke());
    client.on("notification", ({ channel, payload }) => {
      this.#listeners.tell(channel.slice(PREFIX.length), payload ?? "");
    });
    try {
      await client.connect();
      await client.query(CHANNELS.map((channel) => `LISTEN "${PREFIX}${channel}"`).join("; "));
      if (over) throw new Error("the signal connection broke while it was opened");
    } catch (error) {
      void client.end().catch(() => {});
      throw error;
    }
    this.#client = client;
    // Closed meanwhile.
    if (this.#closed) await this.close();
    return this;
  }

  #reconnect(): void {
    if (this.#closed) return;
    this.#retry = setTimeout(() => {
      this.open().catch((error: unknown) => {
        this.#logger.debug({ err: error }, "the signal connection is still down");
        this.#reconnect();
      });
    }, RECONNECT_MS);
  }

  async publish(channel: Channel, payload: string): Promise<void> {
    try {
      await this.#published.ask([PREFIX + channel, payload]);
    } catch (error) {
      this.#logger.debug({ err: error }, "a signal was lost");
    }
  }

  subscribe(channel: Channel, listener: (payload: string) => void): () => void {
    return this.#listeners.add(channel, listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => {});
  }
}

/** Signals over Redis publish and subscribe. While Redis is away they are lost, and nobody waits for it. */
export class RedisSignals implements Signals {
  readonly #listeners = new Listeners();
  readonly #publisher: Redis;
  readonly #subscriber: Redis;
  readonly #logger: Logger;
  #away = false;

  constructor(redisUrl: string, logger: Logger) {
    this.#logger = logger;
    // Never queue signals while Redis is away: late ones are worth nothing.
    this.#publisher = new Redis(redisUrl, {
      enableOfflineQueue: false,
      maxRetriesPerRequest: 1,
      commandTimeout: COMMAND_LIMIT_MS,
    });
    this.#subscriber = new Redis(redisUrl, { maxRetriesPerRequest: null });
    this.#publisher.on("error", (error) => logger.debug({ err: error }, "redis connection for signals"));
    this.#subscriber.on("error", (error) => this.#isAway(error));
    this.#subscriber.on("ready", () => {
      if (this.#away) logger.info("redis is back: signals are heard again");
      this.#away = false;
    });
    this.#subscriber.on("message", (channel: string, payload: string) => {
      this.#listeners.tell(channel.slice(PREFIX.length), payload);
    });
  }

  #isAway(error: Error): void {
    if (!this.#away) this.#logger.warn({ err: error }, "redis is away: signals are lost until it is back");
    this.#away = true;
  }

  /** Starts to listen; where Redis is away, as soon as it is there. */
  async open(): Promise<this> {
    const subscribed = this.#subscriber
      .subscribe(...CHANNELS.map((channel) => PREFIX + channel))
      .catch((error: unknown) => this.#logger.debug({ err: error }, "not subscribed to signals"));
    const timer = new AbortController();
    const late = delay(PATIENCE_MS, undefined, { signal: timer.signal }).catch(() => {});
    await Promise.race([subscribed, late]);
    timer.abort();
    return this;
  }

  async publish(channel: Channel, payload: string): Promise<void> {
    try {
      await this.#publisher.publish(PREFIX + channel, payload);
    } catch (error) {
      this.#logger.debug({ err: error }, "a signal was lost");
    }
  }

  subscribe(channel: Channel, listener: (payload: string) => void): () => void {
    return this.#listeners.add(channel, listener);
  }

  async close(): Promise<void> {
    this.#publisher.disconnect();
    this.#subscriber.disconnect();
  }
}
