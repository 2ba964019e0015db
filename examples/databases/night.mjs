// Pauses all databases that are not in production in the evening, and resumes them in the morning:
//
//   0 20 * * 1-5  node examples/databases/night.mjs evening
//   0  7 * * 1-5  node examples/databases/night.mjs morning
//
// What is paused already in the evening stays so in the morning: a file keeps what this script pauses (NIGHT_FILE,
// default .paused-databases.json in the working folder). What could not be done is said, and done by another run.
// The API client needs deployment:read, deployment:write and operation:read, in development and staging alone.
import { readFile, rename, writeFile } from "node:fs/promises";
import { list, main, read, run } from "./gatehouse.mjs";

const FILE = process.env.NIGHT_FILE ?? ".paused-databases.json";

async function remembered() {
  try {
    return JSON.parse(await readFile(FILE, "utf8"));
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

async function remember(ids) {
  await writeFile(`${FILE}.new`, JSON.stringify(ids));
  await rename(`${FILE}.new`, FILE);
}

/** Each by itself: one that cannot be done keeps none of the others from it. Those that could not. */
async function each(ids, work) {
  const failed = [];
  for (const id of ids) {
    try {
      const { name, status } = await read(id);
      const what = await work(id, status.state);
      if (what !== undefined) console.log(`${what}: ${name}`);
    } catch (error) {
      failed.push(id);
      console.error(`${id}: ${error.message}`);
    }
  }
  if (failed.length > 0) process.exitCode = 1;
  return failed;
}

async function evening() {
  const running = await list("state=running&environmentType=development&environmentType=staging");
  const ids = running.map(({ id }) => id);
  // Before anything is paused: if this script ends in its midst, the morning resumes what it has paused.
  await remember([...new Set([...(await remembered()), ...ids])]);
  await each(ids, async (id) => {
    await run("pause", id);
    return "paused";
  });
}

async function morning() {
  const failed = await each(await remembered(), async (id, state) => {
    // Else somebody has resumed or terminated it meanwhile.
    if (state !== "paused") return undefined;
    await run("resume", id);
    return "resumed";
  });
  await remember(failed);
}

await main(async ([when]) => {
  if (when === "evening") return evening();
  if (when === "morning") return morning();
  throw new Error("say evening or morning");
});
