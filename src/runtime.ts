import type { Config } from "./config.js";
import { showWebhookBacklog } from "./domain/webhooks/backlog.js";
import { showBacklog } from "./operations/backlog.js";
import { CATALOG, type OperationKind, type OperationType } from "./operations/catalog.js";
import { Dispatcher } from "./operations/dispatcher.js";
import { Ledger } from "./operations/ledger.js";
import { observeLedger } from "./operations/observer.js";
import { type OperationQueue, openQueue, type QueueBackend } from "./operations/queue.js";
import { type Blobs, FolderBlobs } from "./platform/blobs.js";
import type { MasterKey } from "./platform/crypto.js";
import type { Logger } from "./platform/logger.js";
import { createMetrics, type Metrics, watchPools } from "./platform/metrics.js";
import { openPrisma, type PrismaClient } from "./platform/prisma.js";
import { PostgresSignals, RedisSignals, type Signals } from "./platform/signals.js";
import { Database } from "./platform/sql.js";
import type { Tracer } from "./platform/tracing.js";
import { VERSION } from "./version.js";

/** What both roles stand on: the database, the queue and the signals, opened once per process. */
export interface Runtime {
  readonly config: Config;
  /** The control plane's own database: DATABASE_URL or the embedded server's. */
  readonly databaseUrl: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Null: nothing is traced. */
  readonly tracer: Tracer | null;
  readonly masterKey: MasterKey;
  readonly prisma: PrismaClient;
  readonly db: Database;
  readonly signals: Signals;
  readonly queue: OperationQueue;
  readonly ledger: Ledger;
  readonly dispatcher: Dispatcher;
  /** Uploads, snapshots, exports. */
  readonly blobs: Blobs;
  close(): Promise<void>;
}

const POOL_SIZE = 10;

export interface RuntimeOptions {
  /** Default: nothing is traced. Closed with the runtime. */
  readonly tracer?: Tracer | null;
  /** What can be asked of workers; default: the product's operations. */
  readonly catalog?: Readonly<Record<OperationType, OperationKind>>;
}

/** Opens everything; throws where the database or Redis cannot be reached. Migrations must have run. */
export async function openRuntime(
  config: Config,
  databaseUrl: string,
  masterKey: MasterKey,
  logger: Logger,
  { tracer = null, catalog = CATALOG }: RuntimeOptions = {},
): Promise<Runtime> {
  const metrics = createMetrics(VERSION);
  const db = new Database(databaseUrl, POOL_SIZE, logger);
  const { prisma, pool } = openPrisma(databaseUrl, POOL_SIZE);
  watchPools(metrics, { statements: db.pool, prisma: pool });
  showBacklog(metrics, db, logger);
  showWebhookBacklog(metrics, db, logger);
  const backend: QueueBackend =
    config.redisUrl === null
      ? { kind: "postgres", databaseUrl }
      : { kind: "redis", redisUrl: config.redisUrl };
  const signals = await openSignals(config, databaseUrl, db, logger);
  const queue = openQueue(backend, logger);
  const concurrency = config.organizationConcurrency;
  const dispatcher = new Dispatcher(db, queue, logger, { tracer, concurrency });
  const observer = observeLedger(metrics, logger);
  const ledger = new Ledger(db, { dispatcher, observer, catalog, concurrency });
  const close = (): Promise<void> =>
    closeInTurn([
      () => dispatcher.stop(),
      () => queue.close(),
      () => signals.close(),
      () => prisma.$disconnect(),
      () => db.close(),
      () => tracer?.close(),
    ]);
  return {
    ...{
      config,
      databaseUrl,
      logger,
      metrics,
      tracer,
      masterKey,
      prisma,
      db,
      signals,
      queue,
      ledger,
      dispatcher,
    },
    blobs: new FolderBlobs(config.blobsRoot),
    close,
  };
}

/** Closes each, whatever becomes of those before: the last spans are sent too. Throws the first fault at the end. */
async function closeInTurn(parts: readonly (() => unknown)[]): Promise<void> {
  const faults: unknown[] = [];
  for (const part of parts) {
    try {
      await part();
    } catch (error) {
      faults.push(error);
    }
  }
  if (faults.length > 0) throw faults[0];
}

function openSignals(config: Config, databaseUrl: string, db: Database, logger: Logger): Promise<Signals> {
  if (config.redisUrl !== null) return new RedisSignals(config.redisUrl, logger).open();
  return new PostgresSignals(databaseUrl, db.pool, logger).open();
}
