import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { build, ROOT, runToEnd } from "./server.js";

const gatehouse = (...args: string[]) =>
  runToEnd(["dist/cli/main.js", ...args], { PATH: process.env["PATH"] ?? "" });

describe("the gatehouse command", () => {
  beforeAll(() => build(), 240_000);

  test("without a command, and with help, says which commands there are", async () => {
    for (const args of [[], ["help"], ["--help"]]) {
      const { code, stdout } = await gatehouse(...args);
      expect(code).toBe(0);
      for (const name of ["start", "demo", "help", "version"]) expect(stdout).toContain(`gatehouse ${name}`);
    }
  });

  test("tells its version", async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    expect((await gatehouse("version")).stdout.trim()).toBe(version);
  });

  test("refuses an unknown command and an unknown role with the exit code for wrong usage", async () => {
    const command = await gatehouse("frobnicate");
    expect(command.code).toBe(64);
    expect(command.stderr).toContain('unknown command "frobnicate"');
    const role = await gatehouse("start", "everything");
    expect(role.code).toBe(64);
    expect(role.stderr).toContain("all, api, worker");
  });
});
