import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { serverProcesses } from "../../src/embedded/processes.js";
import { endAllProcesses, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";
import { clusterOf, createHome, type Home, type LiveProcess, START_LIMIT_MS } from "./launched.js";

const LIMIT = { timeout: 240_000 };

let home: Home;
beforeEach(async () => {
  home = await createHome();
});
afterEach(async () => {
  await endAllProcesses();
  await home.close();
});

async function nothingRuns(): Promise<void> {
  expect(await home.processes()).toEqual([]);
  const cluster = await clusterOf(home.path);
  if (cluster !== null) expect(serverProcesses(cluster)).toEqual([]);
}

async function processOf(role: string): Promise<LiveProcess> {
  const found = (await home.processes()).find((one) => one.role === role);
  if (found === undefined) throw new Error(`no ${role} runs`);
  return found;
}

/** Index of the log entry in which a role says that it has stopped. */
function stoppedAt(launcher: TestProcess, role: string): number {
  return launcher.entries().findIndex((entry) => entry.role === role && entry.msg === "stopped");
}

test("a stop ends requests first, then work, then the database, and leaves nothing", LIMIT, async () => {
  const launcher = home.launch();
  await home.works(launcher);
  const roles = (await home.processes()).map(({ role }) => role).sort();
  expect(roles).toEqual(["api", "database", "launcher", "worker"]);
  expect(await launcher.end("SIGTERM")).toEqual({ code: 0, signal: null });
  const order = ["api", "worker", "launcher"].map((role) => stoppedAt(launcher, role));
  expect(order.every((at) => at >= 0)).toBe(true);
  expect(order).toEqual([...order].sort((a, b) => a - b));
  await nothingRuns();
});

test("a stop during the first start leaves nothing, and the next start works", LIMIT, async () => {
  const early = home.launch();
  await early.says("making the database", START_LIMIT_MS);
  expect(await early.end("SIGTERM")).toEqual({ code: 0, signal: null });
  await nothingRuns();
  await home.works(home.launch());
});

test("whichever process is killed comes back by itself", LIMIT, async () => {
  const launcher = home.launch();
  await home.works(launcher);
  for (const role of ["api", "worker", "database"]) {
    const victim = await processOf(role);
    process.kill(victim.pid, "SIGKILL");
    await home.replaced(launcher, victim);
    await home.works(launcher);
  }
  expect((await launcher.end("SIGTERM")).code).toBe(0);
  await nothingRuns();
});

test(
  "when the launcher is killed its children leave, and the next serves on the same port",
  LIMIT,
  async () => {
    const killed = home.launch();
    await home.works(killed);
    const children = await Promise.all(["api", "worker"].map(processOf));
    // Two names that are never resolved would else take all threads that look names up.
    if (process.platform === "linux") {
      const environment = await readFile(`/proc/${children[1]?.pid}/environ`, "latin1");
      expect(environment.split("\0")).toContain("UV_THREADPOOL_SIZE=64");
    }
    await killed.end("SIGKILL");
    const next = home.launch();
    await home.works(next);
    const left = (await home.processes()).map(({ pid }) => pid);
    for (const { pid } of children) expect(left).not.toContain(pid);
    expect((await next.end("SIGTERM")).code).toBe(0);
    await nothingRuns();
  },
);

test("a port that is in use is said, and nothing stays", LIMIT, async () => {
  const squatter = createServer().listen(home.port, "127.0.0.1");
  await once(squatter, "listening");
  const launcher = home.launch();
  const exit = await launcher.exited;
  expect(exit).toEqual({ code: 78, signal: null });
  expect(launcher.output()).toContain(`127.0.0.1:${home.port} cannot be listened on`);
  expect(launcher.output()).toContain("PORT");
  await nothingRuns();
  squatter.close();
});

test("an api that died while its port was taken comes back when the port is free", LIMIT, async () => {
  const launcher = home.launch();
  await home.works(launcher);
  const squatter = createServer();
  process.kill((await processOf("api")).pid, "SIGKILL");
  await until("the port is taken", async () => {
    squatter.listen(home.port, "127.0.0.1");
    return once(squatter, "listening").catch(() => null);
  });
  await launcher.says("cannot be listened on", START_LIMIT_MS);
  squatter.close();
  await home.works(launcher);
});

test("a second launcher on the same home is refused and disturbs nothing", LIMIT, async () => {
  const launcher = home.launch();
  await home.works(launcher);
  const second = home.launch();
  expect((await second.exited).code).toBe(1);
  expect(second.output()).toContain("already runs");
  await home.works(launcher);
});
