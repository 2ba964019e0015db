import { Redis } from "ioredis";
import pg from "pg";
import type { Logger } from "./logger.js";

/** Channels between the processes of one installation. */
export type Channel = "operation.changed" | "access.changed";

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
  readonly #pool: pg.Pool;
  readonly #databaseUrl: string;
  readonly #logger: Logger;
  #client: pg.Client | null = null;
  #retry: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(databaseUrl: string, pool: pg.Pool, logger: Logger) {
    this.#databaseUrl = databaseUrl;
    this.#pool = pool;
    this.#logger = logger;
  }

  /** Starts to listen; later breaks are mended in the background. */
  async open(): Promise<this> {
    const client = new pg.Client({
      connectionString: this.#databaseUrl,
      keepAlive: true,
      application_name: "signals",
    });
    const broke = (error?: Error): void => {
      if (this.#closed || this.#client !== client) return;
      this.#client = null;
      this.#logger.warn({ err: error }, "the signal connection broke; connecting again");
      this.#reconnect();
    };
    client.on("error", broke);
    client.on("end", () => broke());
    client.on("notification", ({ channel, payload }) => {
      this.#listeners.tell(channel.slice(PREFIX.length), payload ?? "");
    });
    this.#client = client;
    await client.connect();
    await client.query(`LISTEN "${PREFIX}operation.changed"; LISTEN "${PREFIX}access.changed"`);
    return this;
  }

  #reconnect(): void {
    this.#retry = setTimeout(() => {
      this.open().catch((error: unknown) => {
        this.#client = null;
        this.#logger.debug({ err: error }, "the signal connection is still down");
        if (!this.#closed) this.#reconnect();
      });
    }, RECONNECT_MS);
  }

  async publish(channel: Channel, payload: string): Promise<void> {
    try {
      await this.#pool.query({
        name: "notify",
        text: "SELECT pg_notify($1, $2)",
        values: [PREFIX + channel, payload],
      });
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
    await this.#client?.end().catch(() => {});
  }
}

/** Signals over Redis publish and subscribe. */
export class RedisSignals implements Signals {
  readonly #listeners = new Listeners();
  readonly #publisher: Redis;
  readonly #subscriber: Redis;
  readonly #logger: Logger;

  constructor(redisUrl: string, logger: Logger) {
    this.#logger = logger;
    // Never queue signals while Redis is away: late ones are worth nothing.
    this.#publisher = new Redis(redisUrl, { enableOfflineQueue: false, maxRetriesPerRequest: 1 });
    this.#subscriber = new Redis(redisUrl, { maxRetriesPerRequest: null });
    for (const redis of [this.#publisher, this.#subscriber]) {
      redis.on("error", (error) => logger.debug({ err: error }, "redis connection for signals"));
    }
    this.#subscriber.on("message", (channel: string, payload: string) => {
      this.#listeners.tell(channel.slice(PREFIX.length), payload);
    });
  }

  async open(): Promise<this> {
    await this.#subscriber.subscribe(`${PREFIX}operation.changed`, `${PREFIX}access.changed`);
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
