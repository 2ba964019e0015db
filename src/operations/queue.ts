import { setTimeout as delay } from "node:timers/promises";
import { createPostgresBackend, type PgPool, Queue, runMigrations, Worker } from "bullmq";
import pg from "pg";
import type { Logger } from "../platform/logger.js";
import { outliveConnections } from "../platform/sql.js";

const NAME = "operations";

/** Ids that any worker may do, or those of one region. */
const nameOf = (region: string | null): string => (region === null ? NAME : `${NAME}.${region}`);

/** BullMQ's own tables on PostgreSQL. */
const SCHEMA = "bullmq";
/**
 * A killed worker's queue job is delivered again after this. The operation's lease decides who really runs; it is
 * longer, so that the id has left the queue, and can be sent, when the lease has run out.
 */
const LOCK_MS = 3_000;
const STALLED_CHECK_MS = 1_000;
/** Between two tries to reach a server that is away: soon after it is back, the consumers are too. */
const RETRY_MS = 1_000;
const CONNECT_LIMIT_MS = 10_000;
/** A send that takes longer has failed: the sweep makes it up. */
const SEND_LIMIT_MS = 5_000;
/** Goodbyes to a server that is away are not waited for. */
const CLOSE_LIMIT_MS = 2_000;
/** A server that is away is told of once in this time. */
const WARN_EVERY_MS = 60_000;

export type QueueBackend =
  | { readonly kind: "postgres"; readonly databaseUrl: string }
  | { readonly kind: "redis"; readonly redisUrl: string };

/** An operation on its way to workers. */
export interface QueueItem {
  readonly id: string;
  /** Lower numbers come earlier. */
  readonly priority: number;
  /** Only workers that serve it get the id; null: any worker. */
  readonly region: string | null;
}

/** Delivers ids of operations to workers. Losing all of it loses no work: the dispatcher sends again. */
export interface OperationQueue {
  /** Sends ids; one that is still in the queue is not sent twice. Rejects within seconds where the queue's server is away. */
  send(items: readonly QueueItem[]): Promise<void>;
  /**
   * Starts to receive ids of no region and of these, as soon as the queue's server is there.
   * @param concurrency of those of no region together, and of each region's: none has to wait for another
   */
  consume(
    handler: (id: string) => Promise<void>,
    concurrency: number,
    regions?: readonly string[],
  ): Promise<Consumption>;
  close(): Promise<void>;
}

/** Ids that are received. */
export interface Consumption {
  /** How many ids are handled at once, at most. */
  readonly limit: number;
  /** Receives nothing more until `resume`, but for an id that it is just waiting for; what runs goes on. */
  pause(): void;
  resume(): void;
  /** Receives nothing more, and waits for what runs. */
  stop(): Promise<void>;
}

/** The queue's tables on PostgreSQL, made or brought up to date; safe to call in every process. */
export async function migrateQueue(databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  // A statement says so; the event besides would end the process.
  client.on("error", () => {});
  await client.connect();
  try {
    await runMigrations(client, SCHEMA);
  } finally {
    await client.end();
  }
}

// Nothing of the queue's own survives the delivery: an `add` under an id that still exists would be ignored.
const JOB_OPTIONS = { attempts: 1, removeOnComplete: true, removeOnFail: true } as const;

/** A BullMQ queue on PostgreSQL or Redis. Connection faults are logged and mended by the library. */
export function openQueue(backend: QueueBackend, logger: Logger): OperationQueue {
  const producers = new Map<string | null, SafeProducer>();
  const producerOf = (region: string | null): SafeProducer => {
    const producer = producers.get(region) ?? new SafeProducer(backend, nameOf(region), logger);
    producers.set(region, producer);
    return producer;
  };
  // Connects now, not with the first that somebody waits for.
  producerOf(null);
  return {
    async send(items) {
      const regions = [...new Set(items.map(({ region }) => region))];
      await Promise.all(
        regions.map((region) => producerOf(region).send(items.filter((item) => item.region === region))),
      );
    },
    consume: (handler, concurrency, regions = []) => consume(backend, handler, concurrency, regions, logger),
    close: async () => {
      await Promise.all([...producers.values()].map((producer) => producer.close()));
    },
  };
}

/** Sends to one queue. */
class SafeProducer {
  readonly #open: () => Producer;
  #queue: Producer;
  #worked = false;

  constructor(backend: QueueBackend, name: string, logger: Logger) {
    this.#open = () => {
      const queue = openProducer(backend, name);
      queue.on("error", complaint(logger));
      return queue;
    };
    this.#queue = this.#open();
  }

  async send(items: readonly QueueItem[]): Promise<void> {
    const jobs = items.map(({ id, priority }) => ({
      name: "run",
      data: {},
      opts: { ...JOB_OPTIONS, jobId: id, priority },
    }));
    const [first, ...others] = jobs;
    if (first === undefined) return;
    // On PostgreSQL many at once go through temporary tables: for one alone that takes four times as long.
    const { name, data, opts } = first;
    const queue = this.#queue;
    const sent = others.length === 0 ? queue.add(name, data, opts) : queue.addBulk(jobs);
    try {
      // Before its first connection the library waits for as long as it takes.
      await within(SEND_LIMIT_MS, sent);
      this.#worked = true;
    } catch (error) {
      // One whose first connection fails remembers that for ever (PostgresConnection.waitUntilReady).
      if (!this.#worked && this.#queue === queue) {
        void queue.close().catch(() => {});
        this.#queue = this.#open();
      }
      throw error;
    }
  }

  async close(): Promise<void> {
    await within(CLOSE_LIMIT_MS, this.#queue.close()).catch(() => {});
  }
}

async function consume(
  backend: QueueBackend,
  handler: (id: string) => Promise<void>,
  concurrency: number,
  regions: readonly string[],
  logger: Logger,
): Promise<Consumption> {
  const running = new Set<Promise<void>>();
  const process = async (job: { id?: string | undefined }): Promise<void> => {
    if (job.id === undefined) return;
    const handled = handler(job.id);
    running.add(handled);
    await handled.finally(() => running.delete(handled));
  };
  const workers = [null, ...regions].map((region) => {
    const worker = openConsumer(backend, nameOf(region), process, concurrency);
    worker.on("error", complaint(logger));
    return worker;
  });
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  return {
    limit: concurrency * workers.length,
    pause: () => {
      for (const worker of workers) void worker.pause(true).catch(complaint(logger));
    },
    resume: () => {
      for (const worker of workers) worker.resume();
    },
    stop: async () => {
      const closed = Promise.all(workers.map((worker) => worker.close()));
      while (running.size > 0) await Promise.allSettled(running);
      await within(CLOSE_LIMIT_MS, closed).catch(() => {});
    },
  };
}

/** Rejects where `work` takes longer; it goes on unheard. */
async function within(limitMs: number, work: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  const late = delay(limitMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`the queue's server did not answer within ${limitMs} ms`);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    timer.abort();
    late.catch(() => {});
    work.catch(() => {});
  }
}

/** A warning for the operator, now and then: while a server is away the library tells of every single try. */
function complaint(logger: Logger): (error: Error) => void {
  let quietUntil = 0;
  return (error) => {
    const now = performance.now();
    const level = now < quietUntil ? "debug" : "warn";
    if (level === "warn") quietUntil = now + WARN_EVERY_MS;
    logger[level]({ err: error }, "a fault of the queue: what it does not deliver is sent again");
  };
}

type Process = (job: { id?: string | undefined }) => Promise<void>;

/** What is used of BullMQ's queue; its own type names the backend too. */
interface Producer {
  add(name: string, data: object, opts: object): Promise<unknown>;
  addBulk(jobs: { name: string; data: object; opts: object }[]): Promise<unknown>;
  on(event: "error", listener: (error: Error) => void): unknown;
  close(): Promise<void>;
}

interface Consumer {
  on(event: "error", listener: (error: Error) => void): unknown;
  waitUntilReady(): Promise<unknown>;
  pause(doNotWaitActive: boolean): Promise<void>;
  resume(): void;
  close(): Promise<void>;
}

/** Of a queue, or a worker, which has one of them to listen on. */
const CONNECTIONS = 5;
/** A connection that listens and has died unnoticed is found out from then on, not after the system's two hours. */
const KEEP_ALIVE_MS = 10_000;

/**
 * A pool for one queue or worker. The library's own would not do: it listens to a connection a moment too late, and one
 * that is ended in that moment ends the process.
 */
function openPool(databaseUrl: string): pg.Pool & PgPool {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    options: `-c search_path=${SCHEMA}`,
    max: CONNECTIONS,
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
    ...{ keepAlive: true, keepAliveInitialDelayMillis: KEEP_ALIVE_MS },
  });
  // Of the same shape; the two disagree on whether values may be read-only.
  return outliveConnections(pool) as pg.Pool & PgPool;
}

async function closeWith(pool: pg.Pool, closable: { close(): Promise<void> }): Promise<void> {
  try {
    await closable.close();
  } finally {
    if (!pool.ending) await pool.end();
  }
}

function redisConnection(redisUrl: string) {
  return { url: redisUrl, connectTimeout: CONNECT_LIMIT_MS, retryStrategy: () => RETRY_MS };
}

function openProducer(backend: QueueBackend, name: string): Producer {
  if (backend.kind === "postgres") {
    const pool = openPool(backend.databaseUrl);
    const queue = new Queue(name, { connection: pool }, createPostgresBackend);
    return {
      add: (...job) => queue.add(...job),
      addBulk: (jobs) => queue.addBulk(jobs),
      on: (event, listener) => queue.on(event, listener),
      close: () => closeWith(pool, queue),
    };
  }
  // A send that cannot be made now fails at once: the sweep makes it up.
  const connection = { ...redisConnection(backend.redisUrl), maxRetriesPerRequest: 1, commandTimeout: 2_000 };
  return new Queue(name, { connection });
}

function openConsumer(backend: QueueBackend, name: string, process: Process, concurrency: number): Consumer {
  const options = {
    concurrency,
    lockDuration: LOCK_MS,
    stalledInterval: STALLED_CHECK_MS,
    runRetryDelay: RETRY_MS,
  };
  if (backend.kind === "postgres") {
    const pool = openPool(backend.databaseUrl);
    const worker = new Worker(name, process, { connection: pool, ...options }, createPostgresBackend);
    return {
      on: (event, listener) => worker.on(event, listener),
      waitUntilReady: () => worker.waitUntilReady(),
      pause: (doNotWaitActive) => worker.pause(doNotWaitActive),
      resume: () => worker.resume(),
      close: () => closeWith(pool, worker),
    };
  }
  const connection = { ...redisConnection(backend.redisUrl), maxRetriesPerRequest: null };
  return new Worker(name, process, { connection, ...options });
}
