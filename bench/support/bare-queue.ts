import { createPostgresBackend, Worker } from "bullmq";
import { bareConnection } from "./bare.js";
import { serve } from "./child.js";
import { machineTime } from "./noop.js";

// A bare consumer of BullMQ that does nothing.
const { BENCH_DATABASE_URL = "", BENCH_REDIS_URL, BENCH_CONCURRENCY = "50" } = process.env;
const began = new Map<string, number>();
let done = 0;
let first = Number.POSITIVE_INFINITY;
let last = 0;
const concurrency = Number(BENCH_CONCURRENCY);

const process_ = async ({ id }: { id?: string | undefined }): Promise<null> => {
  const now = machineTime();
  first = Math.min(first, now);
  began.set(String(id), now);
  return null;
};
const options = { concurrency, autorun: false };
const worker =
  BENCH_REDIS_URL === undefined
    ? new Worker(
        "bare",
        process_,
        { ...options, connection: bareConnection(BENCH_DATABASE_URL) },
        createPostgresBackend,
      )
    : new Worker("bare", process_, {
        ...options,
        connection: { url: BENCH_REDIS_URL, maxRetriesPerRequest: null },
      });
worker.on("error", () => {});
worker.on("completed", () => {
  done += 1;
  last = machineTime();
});
await worker.waitUntilReady();

serve(
  {},
  {
    run: () => {
      void worker.run();
      return {};
    },
    began: () => {
      const times = Object.fromEntries(began);
      began.clear();
      return { times };
    },
    done: () => ({ done, first, last }),
    stop: async () => {
      await worker.close();
      return {};
    },
  },
);
