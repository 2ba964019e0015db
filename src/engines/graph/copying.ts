import type { Readable } from "node:stream";
import { EngineError } from "../engine.js";
import { polling } from "../polling.js";
import { type asAdmin, infoOf } from "./admin.js";
import { CURRENT, type GraphServer } from "./server.js";

const COPY = `${CURRENT}/snapshot.rdb`;

/**
 * A copy of the data as of the moment of a fork: the server writes it to a file, which is read from there. A stopped
 * server runs for as long as the writing takes, on a socket that no client reaches.
 */
export async function copyOf(server: GraphServer): Promise<Readable> {
  const { state } = await server.instance.place.status();
  const unseen = { path: server.privateSocket };
  // One that a killed attempt started goes on being used.
  if (state !== "running" || (await server.serves(unseen))) {
    if (state !== "running") await server.start("gatehouse");
    try {
      await save(server, unseen);
    } finally {
      await server.stopNow();
    }
  } else {
    await save(server, server.address);
  }
  return reading(server);
}

async function save(server: GraphServer, address: Parameters<typeof asAdmin>[0]): Promise<void> {
  const { signal } = server.context;
  await server.asAdmin(async (client) => {
    // One that began before this call may lack what was acknowledged since.
    await polling(signal, async () => {
      if ((await infoOf(client, "persistence")).get("rdb_bgsave_in_progress") === "1") return false;
      try {
        await client.call("BGSAVE");
        return true;
      } catch (error) {
        if (/in progress|another child process/i.test(String(error))) return false;
        throw error;
      }
    });
    await polling(
      signal,
      async () => (await infoOf(client, "persistence")).get("rdb_bgsave_in_progress") !== "1",
    );
    if ((await infoOf(client, "persistence")).get("rdb_last_bgsave_status") === "ok") return;
    const log = await server.instance.place.logs(4_000);
    if (/No space left on device/.test(log))
      throw new EngineError("disk_full", "the disk of the region is full");
    throw new EngineError("failed", "the database server could not write a copy of its data", {
      cause: new Error(log),
    });
  }, address);
}

function reading(server: GraphServer): Readable {
  const { signal } = server.context;
  const stream = server.volume.read(COPY, signal);
  stream.once("close", () => {
    // Left over where that fails, and replaced by the next one.
    server.volume.remove(COPY, new AbortController().signal).catch(() => {});
  });
  return stream;
}
