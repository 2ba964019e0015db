import type { TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";
import { type FaultBench, ROWS } from "./bench.js";
import { type Hold, holdLedger } from "./holds.js";

/**
 * Sends a worker a signal in the midst of copying on every route: two of its readers stand at the closed gate, the
 * third, which reads a file, has handed over a part of the rows.
 * @param prepare runs when the worker has all three operations: another worker started now gets none of them
 */
export async function signalInTheMidst(
  bench: FaultBench,
  worker: TestProcess,
  signal: "SIGKILL" | "SIGSTOP",
  prepare: () => Promise<unknown>,
): Promise<{ ids: string[]; gate: Hold }> {
  const gate = await bench.source.hold();
  const ids = [await bench.sync("postgres to postgres"), await bench.sync("postgres to file")];
  await gate.reached(2);
  const start = await holdLedger(bench.installation.database, "before copying");
  ids.push(await bench.sync("file to postgres"));
  await start.reached(1);
  await prepare();
  await start.release();
  await until("the file is in the midst of being copied", async () => {
    const copied = await copiedFromFile(bench);
    if (copied === 0) return false;
    if (copied >= ROWS.file) throw new Error("too late: the file has been copied");
    worker.signal(signal);
    return true;
  });
  return { ids, gate };
}

/** Rows of the file that have arrived: its copy is the only one that goes on. */
async function copiedFromFile({ destination }: FaultBench): Promise<number> {
  const [copy] = await destination.query<{ rows: number }>(
    `SELECT max(tuples_processed)::int AS rows FROM pg_stat_progress_copy
     WHERE datname = current_database() AND command = 'COPY FROM'`,
  );
  const rows = copy?.rows ?? 0;
  // No more than this can come through the gate.
  return rows > ROWS.gated / 2 ? rows : 0;
}
