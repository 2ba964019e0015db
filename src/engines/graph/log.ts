import { EngineError } from "../engine.js";
import { polling } from "../polling.js";
import { type Info, infoOf, numberIn } from "./admin.js";
import { CURRENT, type GraphServer } from "./server.js";

/**
 * Where the changes in a log come to so much less than the data, loading them costs less than writing all data anew, also
 * where that is put off from one stop to the next.
 */
const SHARE = 1 / 2;
const FEW_BYTES = 8 * 1024 * 1024;
/** Doing a command again takes up to some tenths of a millisecond besides, in which about so much data can be written. */
const BYTES_FOR_COMMAND = 20 * 1024;
/** Fewer are done sooner than writing anew begins and ends. */
const FEW_COMMANDS = 1_000;
/** The shortest that changes a graph. */
const COMMAND_BYTES = 50;
const COUNT_MS = 60_000;

/**
 * Before a stop: everything acknowledged is in the log already, which is all that a stop has to leave. One that would take
 * longer to load than writing the data anew is made short. Throws `disk_full` where it could not be written.
 */
export async function closeLog(server: GraphServer): Promise<void> {
  const { signal } = server.context;
  try {
    await server.asAdmin(async (client) => {
      const before = await infoOf(client, "persistence");
      if (before.get("aof_last_write_status") !== "ok") {
        throw new EngineError(
          "disk_full",
          "the disk of the region is full: what was written last is in memory alone",
        );
      }
      if (!(await isLong(server, before))) return;
      if (before.get("aof_rewrite_in_progress") !== "1") await client.call("BGREWRITEAOF");
      await polling(signal, async () => {
        const now = await infoOf(client, "persistence");
        return now.get("aof_rewrite_in_progress") !== "1" && now.get("aof_rewrite_scheduled") !== "1";
      });
    });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof EngineError && error.code === "disk_full") throw error;
    // A long log is as safe as a short one.
    server.context.log("warn", `the log was not made shorter: ${String(error)}`);
  }
}

/** Of commands on graphs since the data was written anew; the arguments of each have zeros in them. */
const COUNT = `cat -- "$1"/*.incr.aof | grep -zac -m "$2" 'GRAPH[.]'; true`;

async function isLong({ instance, volume, context }: GraphServer, persistence: Info): Promise<boolean> {
  const data = numberIn(persistence, "aof_base_size");
  const changes = numberIn(persistence, "aof_current_size") - data;
  if (changes > Math.max(FEW_BYTES, data * SHARE)) return true;
  const many = Math.max(FEW_COMMANDS, Math.ceil((data + changes) / BYTES_FOR_COMMAND));
  if (changes < many * COMMAND_BYTES) return false;
  const folder = volume.path(`${CURRENT}/appendonlydir`);
  const { stdout } = await instance.place.run(
    {
      program: "/bin/sh",
      args: ["-c", COUNT, "sh", folder, String(many)],
      env: { LC_ALL: "C" },
      timeoutMs: COUNT_MS,
    },
    context.signal,
  );
  return Number(stdout) >= many;
}
