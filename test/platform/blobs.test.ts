import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FolderBlobs, type ListedBlob } from "../../src/platform/blobs.js";

let root: string;
let blobs: FolderBlobs;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "gatehouse-blobs-"));
  blobs = new FolderBlobs(join(root, "blobs"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const LIMIT = { maxBytes: 1024 ** 2 };
const unfinished = () => readdir(join(root, "blobs/.unfinished"));
const listed = async (folder: string): Promise<ListedBlob[]> => {
  const found: ListedBlob[] = [];
  for await (const blob of blobs.list(folder)) found.push(blob);
  return found;
};

describe("a blob", () => {
  test("comes back as it was put, with its length and its SHA-256", async () => {
    const content = randomBytes(300_000);
    const sha256 = createHash("sha256").update(content).digest("hex");
    expect(await blobs.put("snapshots/one", Readable.from([content]), LIMIT)).toEqual({
      bytes: 300_000,
      sha256,
    });
    const { bytes, stream } = await blobs.get("snapshots/one");
    expect(bytes).toBe(300_000);
    expect((await buffer(stream)).equals(content)).toBe(true);
    expect((await stat(join(root, "blobs/snapshots/one"))).mode & 0o777).toBe(0o600);
    expect(await unfinished()).toEqual([]);
  });

  test("of no bytes is a blob", async () => {
    expect(await blobs.put("snapshots/empty", Readable.from([]), LIMIT)).toMatchObject({ bytes: 0 });
    expect((await buffer((await blobs.get("snapshots/empty")).stream)).length).toBe(0);
  });

  test("is the old or the new one while it is replaced, whoever reads", async () => {
    await blobs.put("snapshots/one", Readable.from([Buffer.from("old")]), LIMIT);
    const { stream } = await blobs.get("snapshots/one");
    await blobs.put("snapshots/one", Readable.from([Buffer.from("the new one")]), LIMIT);
    expect((await buffer(stream)).toString()).toBe("old");
    expect((await buffer((await blobs.get("snapshots/one")).stream)).toString()).toBe("the new one");
  });

  test("that is too large is refused, and nothing of it stays", async () => {
    const content = Readable.from([Buffer.alloc(60), Buffer.alloc(60)]);
    await expect(blobs.put("uploads/one", content, { maxBytes: 100 })).rejects.toMatchObject({
      reason: "too-large",
    });
    await expect(blobs.get("uploads/one")).rejects.toMatchObject({ reason: "missing" });
    expect(await unfinished()).toEqual([]);
  });

  test("whose stream breaks, or is given up, is not there", async () => {
    const breaking = Readable.from(
      (async function* () {
        yield Buffer.from("half");
        throw new Error("the line is cut");
      })(),
    );
    await expect(blobs.put("uploads/one", breaking, LIMIT)).rejects.toThrow("the line is cut");
    const endless = new Readable({ read() {} });
    endless.push("half");
    const stop = new AbortController();
    const putting = blobs.put("uploads/one", endless, { ...LIMIT, signal: stop.signal });
    stop.abort();
    await expect(putting).rejects.toThrow();
    expect(await listed("uploads")).toEqual([]);
    expect(await unfinished()).toEqual([]);
  });

  test("is gone once it is deleted, and deleting again is no fault", async () => {
    await blobs.put("uploads/one", Readable.from([Buffer.from("x")]), LIMIT);
    await blobs.delete("uploads/one");
    await blobs.delete("uploads/one");
    await expect(blobs.get("uploads/one")).rejects.toMatchObject({ reason: "missing" });
  });

  test.each([
    "../outside",
    "uploads/../../outside",
    "/etc/passwd",
    "uploads",
    "uploads/.hidden",
    "uploads/a/b",
  ])("cannot have the key %s", async (key) => {
    await expect(blobs.put(key, Readable.from([]), LIMIT)).rejects.toThrow("is no key");
    await expect(blobs.get(key)).rejects.toThrow("is no key");
    await expect(blobs.delete(key)).rejects.toThrow("is no key");
  });
});

test("a folder lists its blobs, and one that nobody has written to lists none", async () => {
  expect(await listed("uploads")).toEqual([]);
  await blobs.put("uploads/one", Readable.from([Buffer.from("x")]), LIMIT);
  await blobs.put("snapshots/two", Readable.from([Buffer.from("xy")]), LIMIT);
  expect(await listed("uploads")).toEqual([{ key: "uploads/one", bytes: 1, modifiedAt: expect.any(Date) }]);
});

test("what a writer left that has died is cleared, what is being written is not", async () => {
  await blobs.put("uploads/one", Readable.from([Buffer.from("x")]), LIMIT);
  const folder = join(root, "blobs/.unfinished");
  for (const name of ["dead", "alive"]) await writeFile(join(folder, name), "half");
  await utimes(join(folder, "dead"), 1, 1);
  expect(await blobs.clearUnfinished(3_600_000)).toBe(1);
  expect(await readdir(folder)).toEqual(["alive"]);
  expect(await listed("uploads")).toHaveLength(1);
});
