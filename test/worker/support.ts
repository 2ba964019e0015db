import { pino } from "pino";
import type { Timing } from "../../src/config.js";
import { Dispatcher } from "../../src/operations/dispatcher.js";
import type { Ledger } from "../../src/operations/ledger.js";
import { migrateQueue, openQueue } from "../../src/operations/queue.js";
import { newId } from "../../src/platform/ids.js";
import { PostgresSignals, type Signals } from "../../src/platform/signals.js";
import type { OperationHandler } from "../../src/worker/handler.js";
import { Runner } from "../../src/worker/runner.js";
import { type LedgerBench, type OperationRow, openLedger, silent } from "../operations/support.js";
import { until } from "../support/until.js";

const TIMING: Timing = { leaseMs: 2_000, heartbeatMs: 100, sweepMs: 100 };

/** Runners on one ledger, with a queue on PostgreSQL. */
export interface WorkerBench extends LedgerBench {
  readonly signals: Signals;
  readonly dispatcher: Dispatcher;
  /** What runners logged. */
  readonly log: readonly { readonly msg: string; readonly operationId?: string }[];
  /** Starts a runner; all are stopped by `stopAll`. */
  start(handlers: readonly OperationHandler[], options?: RunnerOptions): Promise<Runner>;
  stopAll(): Promise<void>;
  /** The row of an operation that has ended. */
  ended(id: string): Promise<OperationRow>;
}

export interface RunnerOptions {
  readonly timing?: Partial<Timing>;
  readonly ledger?: Ledger;
}

export async function openWorkerBench(): Promise<WorkerBench> {
  const bench = await openLedger();
  const { url } = bench.database;
  await migrateQueue(url);
  const queue = openQueue({ kind: "postgres", databaseUrl: url }, silent);
  const signals = await new PostgresSignals(url, bench.db.pool, silent).open();
  const dispatcher = new Dispatcher(bench.db, queue, silent);
  dispatcher.start(TIMING.sweepMs);
  const log: { msg: string; operationId?: string }[] = [];
  const logger = pino({ level: "info" }, { write: (line: string) => log.push(JSON.parse(line)) });
  const runners = new Set<Runner>();
  const stopAll = async (): Promise<void> => {
    await Promise.all([...runners].map((runner) => runner.stop(0)));
    runners.clear();
  };
  return {
    ...bench,
    ...{ signals, dispatcher, log, stopAll },
    async start(handlers, { timing, ledger = bench.ledger } = {}) {
      const runner = new Runner({
        ...{ ledger, queue, dispatcher, signals, handlers, logger },
        timing: { ...TIMING, ...timing },
        concurrency: 4,
        regions: [],
        workerId: newId(),
      });
      runners.add(runner);
      await runner.start();
      return runner;
    },
    ended: (id) =>
      until(`operation ${id} has ended`, async () => {
        const row = await bench.row(id);
        return ["succeeded", "failed", "cancelled"].includes(row.status) ? row : null;
      }),
    async close() {
      await stopAll();
      await dispatcher.stop();
      await queue.close();
      await signals.close();
      await bench.close();
    },
  };
}

/** A promise that the test settles. */
export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

export function gate(): Gate {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** Rejects when the signal is aborted: what a handler that heeds its signal does. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const stop = (): void => reject(new Error(`stopped: ${signal.reason}`));
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
