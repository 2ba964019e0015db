import { createPostgresBackend, Queue, runMigrations, Worker } from "bullmq";
import pg from "pg";
import type { Logger } from "../platform/logger.js";

const NAME = "operations";
/** BullMQ's own tables on PostgreSQL. */
const SCHEMA = "bullmq";
/** A killed worker's queue job is delivered again after this; the operation's lease decides who really runs. */
const LOCK_MS = 5_000;
const STALLED_CHECK_MS = 1_000;

export type QueueBackend =
  | { readonly kind: "postgres"; readonly databaseUrl: string }
  | { readonly kind: "redis"; readonly redisUrl: string };

/** Delivers ids of operations to workers. Losing all of it loses no work: the dispatcher sends again. */
export interface OperationQueue {
  /** Sends ids; one that is still in the queue is not sent twice. Lower priority numbers come earlier. */
  send(items: readonly { readonly id: string; readonly priority: number }[]): Promise<void>;
  /** Starts to receive ids; the returned function stops receiving and waits for what runs. */
  consume(handler: (id: string) => Promise<void>, concurrency: number): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

/** The queue's tables on PostgreSQL, made or brought up to date; safe to call in every process. */
export async function migrateQueue(databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
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
  const queue = openProducer(backend);
  queue.on("error", (error) => logger.debug({ err: error }, "queue connection"));
  return {
    async send(items) {
      await queue.addBulk(
        items.map(({ id, priority }) => ({
          name: "run",
          data: {},
          opts: { ...JOB_OPTIONS, jobId: id, priority },
        })),
      );
    },
    async consume(handler, concurrency) {
      const process = async (job: { id?: string | undefined }): Promise<void> => {
        if (job.id !== undefined) await handler(job.id);
      };
      const worker = openConsumer(backend, process, concurrency);
      worker.on("error", (error) => logger.debug({ err: error }, "queue consumer"));
      await worker.waitUntilReady();
      return () => worker.close();
    },
    close: () => queue.close(),
  };
}

type Process = (job: { id?: string | undefined }) => Promise<void>;

/** What is used of BullMQ's queue; its own type names the backend too. */
interface Producer {
  addBulk(jobs: { name: string; data: object; opts: object }[]): Promise<unknown>;
  on(event: "error", listener: (error: Error) => void): unknown;
  close(): Promise<void>;
}

interface Consumer {
  on(event: "error", listener: (error: Error) => void): unknown;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}

function postgresConnection(databaseUrl: string) {
  return { connectionString: databaseUrl, schema: SCHEMA, max: 4 };
}

function openProducer(backend: QueueBackend): Producer {
  if (backend.kind === "postgres") {
    return new Queue(NAME, { connection: postgresConnection(backend.databaseUrl) }, createPostgresBackend);
  }
  // A send that cannot be made now fails at once: the sweep makes it up.
  return new Queue(NAME, {
    connection: { url: backend.redisUrl, maxRetriesPerRequest: 1, commandTimeout: 2_000 },
  });
}

function openConsumer(backend: QueueBackend, process: Process, concurrency: number): Consumer {
  const options = { concurrency, lockDuration: LOCK_MS, stalledInterval: STALLED_CHECK_MS };
  if (backend.kind === "postgres") {
    const connection = postgresConnection(backend.databaseUrl);
    return new Worker(NAME, process, { connection, ...options }, createPostgresBackend);
  }
  return new Worker(NAME, process, {
    connection: { url: backend.redisUrl, maxRetriesPerRequest: null },
    ...options,
  });
}
