import { startWorker } from "../../src/worker.js";
import { serve } from "./child.js";
import { machineTime, noopHandler } from "./noop.js";
import { openBenchRuntime } from "./runtime.js";

// A worker as the product starts it, with the handler of the operation that does nothing.
const began = new Map<string, number>();
const stepped = process.env["BENCH_STEPS"] === "1";
const runtime = await openBenchRuntime();
const handler = stepped ? noopHandler((id) => void began.set(id, machineTime())) : noopHandler();
const worker = await startWorker(runtime, [handler]);

serve(
  {},
  {
    /** When the steps of operations began, by id. */
    began: () => {
      const times = Object.fromEntries(began);
      began.clear();
      return { times };
    },
    stop: async () => {
      await worker.stop();
      await runtime.close();
      return {};
    },
  },
);
