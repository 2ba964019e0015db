// Disaster recovery: puts an archive into a new database, and switches the connection URL to it. Clients that have the
// URL of the lost database reach the new one as soon as they reconnect; nothing has to be changed for them.
//
//   node examples/databases/recover.mjs DATABASE_ID ARCHIVE
//
// The lost database is only paused, and has the URL that was the new one's: resume it to look into it, or terminate it.
// The API client needs deployment:read, deployment:write and operation:read, and in production production:destructive.
import { openAsBlob } from "node:fs";
import { basename } from "node:path";
import { createLike, main, read, run } from "./gatehouse.mjs";

await main(async ([id, archive]) => {
  if (archive === undefined) throw new Error("say the id of the database that is lost, and an archive of it");
  const form = new FormData();
  form.set("file", await openAsBlob(archive), basename(archive));
  const lost = await read(id);
  const recovered = await createLike(lost, `${lost.name} ${new Date().toISOString().slice(0, 19)}`);
  console.log(`created ${recovered.id}`);
  await run("import", recovered.id, form);
  console.log(`imported ${archive}`);
  // Whatever is left of it: a server that is stopped needs not start.
  if (lost.status.state === "running") await run("pause", id);
  await run("connection-url", id, { databaseId: recovered.id });
  console.log(`${recovered.id} is now at ${lost.domainName}:${lost.port}`);
});
