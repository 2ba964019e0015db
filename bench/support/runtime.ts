import { pino } from "pino";
import { loadConfig } from "../../src/config.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { growHeapSparingly } from "../../src/platform/heap.js";
import { openRuntime, type Runtime } from "../../src/runtime.js";
import { BENCH_CATALOG } from "./noop.js";

/** Too high to be reached; counted all the same. */
const UNREACHABLE = "10000000";

/**
 * What a role stands on, in a benchmark's child: with its log (written at once, as the real one is, to where nobody
 * reads it), its limits (on, too high to be reached), and an operation more that does nothing.
 */
export async function openBenchRuntime(): Promise<Runtime> {
  growHeapSparingly();
  const { BENCH_DATABASE_URL: databaseUrl = "", BENCH_REDIS_URL, BENCH_MASTER_KEY = "" } = process.env;
  const config = loadConfig(
    {
      PUBLIC_URL: "https://bench.example",
      DATABASE_URL: databaseUrl,
      REDIS_URL: BENCH_REDIS_URL,
      GATEHOUSE_MASTER_KEY: BENCH_MASTER_KEY,
      RATE_LIMIT_REQUESTS: UNREACHABLE,
      RATE_LIMIT_TOKENS_PER_CLIENT: UNREACHABLE,
      RATE_LIMIT_TOKENS_PER_ADDRESS: UNREACHABLE,
      WORKER_CONCURRENCY: process.env["BENCH_CONCURRENCY"] ?? "50",
    },
    process.cwd(),
  );
  const logger = pino({ level: "info" }, pino.destination({ dest: "/dev/null", sync: true }));
  return openRuntime(config, databaseUrl, new MasterKey(BENCH_MASTER_KEY), logger, {
    catalog: BENCH_CATALOG,
  });
}
