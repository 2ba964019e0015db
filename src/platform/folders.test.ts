import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { makeFolder } from "./folders.js";

test("a folder's mode is its own: the folders above stay passable, and the next call changes nothing", () => {
  const base = mkdtempSync(join(tmpdir(), "gatehouse-folders-"));
  onTestFinished(() => rmSync(base, { recursive: true, force: true }));
  const modeOf = (path: string) => statSync(path).mode & 0o777;
  makeFolder(join(base, "above", "closed"), 0o700);
  expect(modeOf(join(base, "above", "closed"))).toBe(0o700);
  expect(modeOf(join(base, "above")) & 0o011).toBe(0o011);
  makeFolder(join(base, "above", "closed"), 0o777);
  expect(modeOf(join(base, "above", "closed"))).toBe(0o700);
});
