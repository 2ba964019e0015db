import { pino } from "pino";
import { openQueue, type QueueBackend } from "../../src/operations/queue.js";

// Takes whatever comes and holds it until this process is killed.
const backend = JSON.parse(process.argv[2] ?? "") as QueueBackend;
await openQueue(backend, pino({ level: "silent" })).consume((id) => {
  process.send?.(id);
  return new Promise(() => {});
}, 1);
process.send?.("ready");
