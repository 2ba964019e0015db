// Puts the data of production into staging, as of now; production serves meanwhile:
//
//   0 3 * * 0  node examples/databases/refresh-staging.mjs PRODUCTION_ID STAGING_ID
//
// Staging keeps its address and its password, and serves its old data until the new is complete.
// The API client reaches both environments, with deployment:write, snapshot:write and operation:read.
import { main, run } from "./gatehouse.mjs";

await main(async ([production, staging]) => {
  if (staging === undefined) throw new Error("say the ids of the databases in production and in staging");
  const { snapshotId } = await run("snapshot", production);
  console.log(`snapshot ${snapshotId} of ${production}`);
  await run("restore", staging, { snapshotId });
  console.log(`restored into ${staging}`);
});
