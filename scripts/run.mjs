#!/usr/bin/env node
/**
 * node scripts/run.mjs <start|test|demo|setup> [arguments]
 *
 * Prepares whatever a fresh clone lacks (see setup.mjs), then becomes the program asked for: it is loaded into
 * this very process, not started as a child. So there is nothing between npm and the program that would have to
 * pass on signals and exit codes, could deliver Ctrl-C a second time or could be killed away from under it.
 */
const PROGRAMS = {
  start: { file: "dist/main.js", args: [] },
  test: { file: "node_modules/vitest/vitest.mjs", args: ["run"] },
  demo: { file: "dist/cli/demo.js", args: [] },
  setup: null,
};
const OLDEST_NODE = [20, 19];

async function main() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
    fail(
      `Gatehouse needs Node.js ${OLDEST_NODE.join(".")} or newer; this is ${process.versions.node} (${process.execPath}).`,
    );
  }
  const [command, ...args] = process.argv.slice(2);
  if (!Object.keys(PROGRAMS).includes(command)) {
    console.error(`usage: node scripts/run.mjs <${Object.keys(PROGRAMS).join("|")}> [arguments]`);
    process.exit(2);
  }
  // Not at the top: an old Node could not even parse it, and would say something less helpful than the above.
  const { root, setup } = await import("./setup.mjs");
  const { join } = await import("node:path");
  const { existsSync } = await import("node:fs");
  const { pathToFileURL } = await import("node:url");

  process.chdir(root);
  try {
    await setup({ withDevelopmentTools: command === "test" });
  } catch (error) {
    fail(error.message);
  }
  const program = PROGRAMS[command];
  if (program === null) return;
  const file = join(root, program.file);
  if (!existsSync(file)) fail(`${program.file} is missing.`);
  if (process.env.npm_lifecycle_event === command) endWithParent();
  process.argv = [process.execPath, file, ...program.args, ...args];
  await import(pathToFileURL(file).href);
}

/**
 * npm runs scripts through a shell. Told to end, npm tells the shell, and a shell like dash just ends without
 * telling anybody: then nobody is left who could stop this process.
 */
function endWithParent() {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    process.kill(process.pid, "SIGTERM");
  }, 500);
  watch.unref();
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

main();
