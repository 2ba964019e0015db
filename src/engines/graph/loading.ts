import type { Readable } from "node:stream";
import type { Redis } from "ioredis";
import { EngineError } from "../engine.js";
import { polling } from "../polling.js";
import { ToolError } from "../substrate.js";
import { infoOf, numberIn } from "./admin.js";
import { CURRENT, type GraphServer } from "./server.js";
import { ARCHIVE, limitsOf } from "./settings.js";

const DAY_MS = 24 * 3600 * 1000;
/** A server that lives and is not heard for so long hangs; while it loads it answers. */
const UNHEARD_MS = 30_000;
/** Once its log is written a server has nothing to do but to end. */
const END_MS = 10_000;

/**
 * Replaces the data by an RDB file. A server that nobody reaches loads it beside the present data and writes anew what it
 * has loaded, in the form that the real one starts from. The file itself never gets there: what stands behind its end
 * would be run as commands, with all rights.
 */
export async function replaceData(server: GraphServer, archive: Readable): Promise<void> {
  const { volume, context, instance } = server;
  const { signal } = context;
  const { command, attempt } = instance.place.fence;
  const folder = `data-${command}-${attempt}`;
  if ((await volume.linked(CURRENT, signal)) === folder) {
    // This very attempt has put it there before; what is left of it is to be stopped.
    archive.destroy();
    await server.stopNow();
    return;
  }
  await removeOthers(server);
  await volume.makeFolders([folder], signal);
  try {
    const limitBytes = instance.place.limits.storageBytes;
    await volume.write(`${folder}/${ARCHIVE}`, archive, { limitBytes, signal });
    await tryOut(server, folder);
    await volume.remove(`${folder}/${ARCHIVE}`, signal);
  } catch (error) {
    await volume.remove(folder, NEVER).catch(() => {});
    throw error;
  }
  await server.stopNow();
  await volume.link(CURRENT, folder, signal);
  await removeOthers(server);
}

const NEVER = new AbortController().signal;

/** All data but what is served: of earlier attempts, and what was replaced. */
export async function removeOthers({ volume, context }: GraphServer): Promise<void> {
  const current = await volume.linked(CURRENT, context.signal);
  for (const name of await volume.list(".", context.signal)) {
    if (/^(data|trial)-/.test(name) && name !== current) await volume.remove(name, context.signal);
  }
}

/** Loads the data of a folder in a server of its own; throws `bad_archive` or `too_large` where that does not go well. */
async function tryOut(server: GraphServer, folder: string): Promise<void> {
  const { instance, context } = server;
  const socket = `${instance.place.socketFolder}/t${folder.slice("data".length)}`;
  const file = `trial${folder.slice("data".length)}.conf`;
  const texts = await server.configuration(file, folder, { socket, trial: true });
  await server.volume.writeTexts(texts, context.signal);
  const ending = new AbortController();
  const command = await server.command(file);
  let ended = false;
  const running = instance.place
    .run({ ...command, env: {}, timeoutMs: DAY_MS }, AbortSignal.any([context.signal, ending.signal]))
    .finally(() => {
      ended = true;
    });
  // Looked at below.
  running.catch(() => {});
  try {
    let heardAt = performance.now();
    const heard = (): void => {
      heardAt = performance.now();
    };
    const isLost = (): boolean => ended || performance.now() - heardAt > UNHEARD_MS;
    await polling(context.signal, () => isLoaded(server, socket, heard, isLost));
    const isWritten = await server.asAdmin((client) => writeAnew(server, client), { path: socket });
    const hanging = setTimeout(() => ending.abort(), END_MS);
    const { stdout, stderr } = await running
      .catch((error: unknown) => {
        // What it could write is on the disk, and nobody else wrote anything.
        if (ending.signal.aborted) return { stdout: "", stderr: "" };
        throw error;
      })
      .finally(() => clearTimeout(hanging));
    if (!isWritten) throw notWritten(`${stdout}\n${stderr}`);
  } catch (error) {
    context.signal.throwIfAborted();
    ending.abort(error);
    const cause = await running.then(
      () => error,
      (end: unknown) => (end instanceof ToolError ? end : error),
    );
    throw cause instanceof ToolError ? refusal(cause) : cause;
  } finally {
    ending.abort();
    await server.volume.remove(file, NEVER).catch(() => {});
  }
}

/** Whether the data is there; throws where it is more than the plan allows, also while it is being loaded. */
async function isLoaded(
  server: GraphServer,
  path: string,
  heard: () => void,
  isLost: () => boolean,
): Promise<boolean> {
  try {
    return await server.asAdmin(
      async (client) => {
        const used = numberIn(await infoOf(client, "memory"), "used_memory");
        heard();
        const { maxMemory } = limitsOf(server.instance);
        if (used > maxMemory) {
          throw new EngineError(
            "too_large",
            `the archive's data needs more than the plan's ${maxMemory} bytes`,
          );
        }
        if ((await infoOf(client, "persistence")).get("loading") === "1") return false;
        await refuseCode(client);
        return true;
      },
      { path },
    );
  } catch (error) {
    if (isLost() || !(error instanceof EngineError) || error.code !== "unavailable") throw error;
    return false;
  }
}

/** Makes the log that the real server starts from, and ends; whether it could be written. */
async function writeAnew(server: GraphServer, client: Redis): Promise<boolean> {
  await client.config("SET", "appendonly", "yes");
  let isWritten = true;
  await polling(server.context.signal, async () => {
    const now = await infoOf(client, "persistence");
    // One that failed is tried again for ever.
    isWritten = now.get("aof_last_bgrewrite_status") === "ok";
    return (
      !isWritten || (now.get("aof_rewrite_in_progress") !== "1" && now.get("aof_rewrite_scheduled") !== "1")
    );
  });
  // Without its log it would not end by itself.
  await client.call("SHUTDOWN", "NOSAVE", ...(isWritten ? [] : ["NOW", "FORCE"])).catch(() => {});
  return isWritten;
}

function notWritten(log: string): EngineError {
  const cause = new Error(log.slice(-2_000));
  return /No space left on device/.test(log)
    ? new EngineError("disk_full", "the disk of the region is full", { cause })
    : new EngineError("failed", "the database server could not write the archive's data", { cause });
}

/** Customers may load no functions, and an archive is loaded with their rights. */
async function refuseCode(client: Redis): Promise<void> {
  const libraries = await client.call("FUNCTION", "LIST");
  if (Array.isArray(libraries) && libraries.length > 0) {
    throw new EngineError("bad_archive", "the archive holds server functions, which cannot be loaded here");
  }
}

const REASONS: readonly (readonly [RegExp, string])[] = [
  [/Wrong signature|Bad file format|unknown AOF format|Unrecognized/i, "it is not an RDB file"],
  [
    /Can't handle RDB format version (\d+)/,
    "it was written by a newer server than this one (RDB version $1)",
  ],
  [
    /no matching module type '([\w-]+)'|The RDB file contains module data I can't load[^']*'([\w-]+)'/,
    "it holds data of another module ($1)",
  ],
  [/Out Of Memory|Can't allocate|std::bad_alloc/i, "it needs more memory than the plan has"],
  [/No space left on device/, "the disk of the region is full"],
  [/Short read|Unexpected EOF|end of file/i, "it is truncated"],
  [/checksum/i, "its checksum is wrong"],
];

/** What the server said of the archive, in words for who sent it. */
function refusal(end: ToolError): EngineError {
  const log = `${end.stdout}\n${end.stderr}`;
  for (const [pattern, words] of REASONS) {
    const found = pattern.exec(log);
    if (found === null) continue;
    const reason = words.replace("$1", found[1] ?? found[2] ?? "unknown");
    const code = /memory/.test(words) ? "too_large" : /disk/.test(words) ? "disk_full" : "bad_archive";
    return new EngineError(code, `the archive cannot be loaded: ${reason}`, {
      cause: new Error(log.slice(-2_000)),
    });
  }
  const cause = new Error(`${end.message}: ${log.slice(-2_000)}`);
  // A server that falls over the archive says so; one that was killed says nothing.
  if (end.exitCode === null && !/crashed by signal/.test(log)) {
    return new EngineError("unavailable", "the server that loads the archive was killed", { cause });
  }
  return new EngineError("bad_archive", "the archive cannot be loaded: the server gave up on it", { cause });
}
