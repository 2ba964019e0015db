// Stores an archive of a database in a folder, which is best on another machine: what recover.mjs takes.
//
//   0 * * * *  node examples/databases/keep-archive.mjs DATABASE_ID /backup
//
// The API client needs deployment:read, deployment:write and operation:read.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { main, read, request, run } from "./gatehouse.mjs";

await main(async ([id, folder]) => {
  if (folder === undefined) throw new Error("say the id of a database, and a folder");
  const { name, engine } = await read(id);
  const { exportId } = await run("export", id);
  const answer = await request("GET", `/databases/${id}/exports/${exportId}/download`);
  const when = new Date().toISOString().replaceAll(/[:.]/g, "-");
  const path = join(folder, `${id}-${when}.${engine === "postgres" ? "dump" : "rdb"}`);
  const hash = createHash("sha256");
  const hashed = async function* (chunks) {
    for await (const chunk of chunks) {
      hash.update(chunk);
      yield chunk;
    }
  };
  await pipeline(Readable.fromWeb(answer.body), hashed, createWriteStream(`${path}.part`, { mode: 0o600 }));
  if (answer.headers.get("repr-digest") !== `sha-256=:${hash.digest("base64")}:`) {
    throw new Error(`${path}.part is not what was stored: run it again`);
  }
  await rename(`${path}.part`, path);
  console.log(`${name}: ${path}`);
});
