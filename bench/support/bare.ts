import { createPostgresBackend, Queue } from "bullmq";

/** As many as a Gatehouse has for its ledger and its queue: with more than one, commits share a write to the disk. */
const CONNECTIONS = 15;

/** What is used of BullMQ's queue; its own type names the backend too. */
export interface BareQueue {
  add(name: string, data: object, options: object): Promise<{ readonly id?: string | undefined }>;
  close(): Promise<void>;
}

/** Where a bare BullMQ keeps its jobs on PostgreSQL. */
export function bareConnection(connectionString: string) {
  return { connectionString, schema: "bullmq", max: CONNECTIONS };
}

/** A bare queue: on Redis where there is one. */
export function bareQueueOf(databaseUrl: string, redisUrl: string | undefined): BareQueue {
  return redisUrl === undefined
    ? new Queue("bare", { connection: bareConnection(databaseUrl) }, createPostgresBackend)
    : new Queue("bare", { connection: { url: redisUrl } });
}
