// A worker of its own process, for tests of places: reads one JSON line with what to do, says READY when the place is
// open, waits for a second line, does it, and says how it ended.
import { createInterface } from "node:readline";
import { createProcessSubstrate } from "../../src/engines/process/substrate.js";
import type { Place } from "../../src/engines/substrate.js";
import type { WorkerTask } from "./worker-process.js";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const task: WorkerTask = JSON.parse((await lines.next()).value);
if (task.uid !== undefined) {
  process.setgid?.(task.uid);
  process.setuid?.(task.uid);
}
const signal = new AbortController().signal;
try {
  const substrate = createProcessSubstrate({ root: task.root });
  if (substrate.missing !== null) throw new Error(substrate.missing);
  const place = await substrate.open(task.spec, task.fence, signal);
  console.log("READY");
  await lines.next();
  const effects = task.effect === "all" ? (["start", "write", "stop", "remove"] as const) : [task.effect];
  for (const effect of effects) await run(place, effect);
  console.log("DONE");
} catch (error) {
  console.log(error instanceof Error ? error.name : error, error instanceof Error ? error.message : "");
} finally {
  lines.return?.();
  process.stdin.destroy();
}

async function run(place: Place, effect: Exclude<WorkerTask["effect"], "all">): Promise<void> {
  switch (effect) {
    case "start":
      console.log(JSON.stringify(await place.start(task.server, signal)));
      break;
    case "stop":
      await place.stop({ stopSignal: "SIGTERM", graceMs: 5_000 }, signal);
      break;
    case "write":
      await place.volume.write("written", "by a worker", { limitBytes: 100, signal });
      break;
    case "remove":
      await place.remove(signal);
      break;
    case "tool":
      console.log("TOOL");
      await place.run({ ...task.server, timeoutMs: 60_000 }, signal);
  }
}
