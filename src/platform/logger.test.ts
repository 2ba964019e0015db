import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { afterEach, expect, test } from "vitest";

const LOGGING = resolve(import.meta.dirname, "../../test/support/logging.ts");

let child: ChildProcess;
afterEach(() => {
  child.kill("SIGKILL");
});

async function start(): Promise<void> {
  child = fork(LOGGING, [], { execArgv: ["--import", "tsx"], stdio: ["ignore", "pipe", "inherit", "ipc"] });
  await once(child, "message");
}

async function log(text: string): Promise<unknown> {
  const answered = once(child, "message");
  child.send(text);
  return (await answered)[0];
}

test("what was logged last is there when the process ends", async () => {
  await start();
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (lines: string) => {
    output += lines;
  });
  const long = "x".repeat(100_000);
  await log(long);
  await log("the last");
  child.send("end");
  expect(await once(child, "close")).toEqual([0, null]);
  const entries = output
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).msg);
  expect(entries).toEqual([long, long, "the last", "the last"]);
});

test("a process whose log nobody reads any more goes on, and ends when it is told to", async () => {
  await start();
  child.stdout?.destroy();
  for (const text of ["one", "two", "three"]) expect(await log(text)).toBe(text);
  child.send("end");
  expect(await once(child, "exit")).toEqual([0, null]);
});
