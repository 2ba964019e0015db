import { spawn } from "node:child_process";
import { once } from "node:events";
import { link, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type Column,
  type ColumnType,
  type ConnectorConfig,
  type ConnectorContext,
  type DestinationWriter,
  type Fence,
  FencedError,
  type Stream,
  type StreamData,
  type StreamResult,
  type Value,
} from "../../src/connectors/connector.js";
import { createFileConnector } from "../../src/connectors/file/connector.js";
import type { OnPoint } from "../../src/connectors/file/takeover.js";

const context: ConnectorContext = { signal: new AbortController().signal, log: () => {} };
const CONFIG: ConnectorConfig = { path: "out", header: false };

let home: string;
let root: string;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "gatehouse-file-"));
  root = join(home, "files");
  await mkdir(root);
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

function destination(onPoint: OnPoint = () => {}) {
  const { destination } = createFileConnector({ root, readOnlyRoots: [], onPoint });
  if (destination === undefined) throw new Error("no destination");
  return destination;
}

function open(
  run: number,
  attempt: number,
  options: Partial<Fence & { onPoint: OnPoint; config: ConnectorConfig }> = {},
) {
  const fence = { jobId: options.jobId ?? "job", run, attempt };
  return destination(options.onPoint).open(options.config ?? CONFIG, fence, context);
}

function streamOf(
  name: string,
  columns: readonly Column[] = [{ name: "v", type: "string", nullable: true }],
): Stream {
  return { name, columns, primaryKey: [], cursorFields: [], syncModes: ["full_refresh"] };
}

function dataOf(...rows: readonly (readonly Value[])[]): StreamData {
  return {
    encoding: "rows",
    batches: (async function* () {
      yield { rows, bytes: 0 };
    })(),
  };
}

function write(writer: DestinationWriter, name: string, value: Value): Promise<StreamResult> {
  return writer.write(streamOf(name), dataOf([value]), () => {});
}

/** A whole run with the streams a and b, both saying `value`. */
async function run(run: number, value: string, jobId = "job"): Promise<void> {
  const writer = await open(run, 1, { jobId });
  try {
    await write(writer, "a", value);
    await write(writer, "b", value);
    await writer.commit();
  } finally {
    await writer.close();
  }
}

async function get(path: string): Promise<string | null> {
  return await readFile(join(root, path), "utf8").catch(() => null);
}

async function privateFiles(jobId = "job"): Promise<readonly string[]> {
  return (await readdir(join(root, "out", ".gatehouse", jobId), { recursive: true })).sort();
}

/** Lets a writer be held at a point and be let go. */
function gate(at: string) {
  let arrive = (): void => {};
  let release = (): void => {};
  const arrived = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const onPoint: OnPoint = async (point) => {
    if (point !== at) return;
    arrive();
    await released;
  };
  return { arrived, release, onPoint };
}

describe("what is written", () => {
  async function output(config: ConnectorConfig, columns: readonly Column[], ...rows: (readonly Value[])[]) {
    const writer = await open(1, 1, { config: { ...config, path: "out" } });
    await writer.write(streamOf("s", columns), dataOf(...rows), () => {});
    await writer.commit();
    await writer.close();
    return await get(`out/s.${String(config["format"] ?? "csv")}`);
  }

  function columns(types: Readonly<Record<string, ColumnType>>): readonly Column[] {
    return Object.entries(types).map(([name, type]) => ({ name, type, nullable: true }));
  }

  const all = columns({ b: "boolean", bin: "binary", j: "json", f: "float", d: "decimal", s: "string" });

  test("CSV: RFC 4180 quoting, base64, JSON text, null and the empty string apart, nothing else escaped", async () => {
    const text = await output(
      {},
      all,
      [true, Buffer.from("hä"), { a: [1, "x"] }, 1e-7, "1.10", ""],
      [false, null, "x", Number.NaN, null, '=1+1, "x"\r\n'],
    );
    expect(text).toBe(
      'b,bin,j,f,d,s\ntrue,aMOk,"{""a"":[1,""x""]}",1e-7,1.10,""\nfalse,,"""x""",NaN,,"=1+1, ""x""\r\n"\n',
    );
  });

  test("JSONL: numbers with all their digits, strings that are no numbers of JSON as strings", async () => {
    const text = await output(
      { format: "jsonl" },
      all,
      [true, Buffer.from("hä"), { a: [1, "x"] }, 1e21, "12345678901234567890.10", "1"],
      [null, null, [null], Number.POSITIVE_INFINITY, "NaN", "\u2028"],
    );
    expect(text).toBe(
      '{"b":true,"bin":"aMOk","j":{"a":[1,"x"]},"f":1e+21,"d":12345678901234567890.10,"s":"1"}\n' +
        '{"b":null,"bin":null,"j":[null],"f":"Infinity","d":"NaN","s":"\u2028"}\n',
    );
  });

  test("a stream without rows is a header, one without columns an empty file", async () => {
    expect(await output({}, columns({ "a,b": "string", c: "string" }))).toBe('"a,b",c\n');
    await rm(join(root, "out"), { recursive: true });
    expect(await output({ format: "jsonl" }, [])).toBe("");
  });

  test("rows and bytes are reported, and the file has as many", async () => {
    const writer = await open(1, 1);
    const seen: StreamResult[] = [];
    const result = await writer.write(streamOf("a"), dataOf(["x"], ["ü"], [null]), (soFar) =>
      seen.push(soFar),
    );
    expect(result).toEqual({ rows: 3, bytes: 6 });
    expect(seen.at(-1)).toEqual(result);
    await writer.commit();
    await writer.close();
    expect(await get("out/a.csv")).toBe("x\nü\n\n");
  });

  test("the next batch is asked for when the one before is written", async () => {
    const writer = await open(1, 1);
    let asked = 0;
    const batches = (async function* () {
      for (asked = 1; asked <= 20; asked += 1) {
        if (asked === 10) {
          const { size } = await import("node:fs").then((fs) =>
            fs.statSync(join(root, "out/.gatehouse/job/r1a1/a.csv")),
          );
          expect(size).toBeGreaterThan(5 * 1024 * 1024);
        }
        yield { rows: [["x".repeat(1024 * 1024)]], bytes: 0 };
      }
    })();
    await writer.write(streamOf("a"), { encoding: "rows", batches }, () => {});
    await writer.close();
  });

  test("a failure of the source passes as it is, and the writer can be closed", async () => {
    const writer = await open(1, 1);
    const reset = Object.assign(new Error("connection reset"), { code: "ECONNRESET" });
    const batches = (async function* () {
      yield { rows: [["x"]], bytes: 0 };
      throw reset;
    })();
    await expect(writer.write(streamOf("a"), { encoding: "rows", batches }, () => {})).rejects.toBe(reset);
    await writer.close();
    expect(await privateFiles()).toEqual(["r1a1"]);
  });
});

describe("a commit", () => {
  test("shows all files at once after nothing was to be seen, and leaves only its record", async () => {
    await run(1, "old");
    const writer = await open(2, 1);
    expect(writer.committed).toBeNull();
    await write(writer, "a", "new");
    await write(writer, "b", "new");
    expect(await get("out/a.csv")).toBe("old\n");
    await writer.commit();
    expect([await get("out/a.csv"), await get("out/b.csv")]).toEqual(["new\n", "new\n"]);
    expect(await privateFiles()).toEqual(["commit-r2.json"]);
    await writer.close();
  });

  test("happens once per run: again by the same writer, and by later attempts, it changes nothing", async () => {
    const writer = await open(1, 1);
    await write(writer, "a", "new");
    await writer.commit();
    await writeFile(join(root, "out/a.csv"), "edited\n");
    await writer.commit();
    await writer.close();
    const again = await open(1, 2);
    expect(again.committed).toEqual(new Map([["a", { rows: 1, bytes: 4 }]]));
    await again.commit();
    await expect(write(again, "a", "other")).rejects.toMatchObject({ name: "ConnectorError" });
    await again.close();
    expect(await get("out/a.csv")).toBe("edited\n");
  });

  test("without a commit, closing leaves the old files and nothing of the new", async () => {
    await run(1, "old");
    const writer = await open(2, 1);
    await write(writer, "a", "new");
    await writer.close();
    expect(await get("out/a.csv")).toBe("old\n");
    expect(await privateFiles()).toEqual(["commit-r1.json", "r2a1"]);
    await run(3, "newer");
    expect(await privateFiles()).toEqual(["commit-r3.json"]);
  });

  test("keeps what was written in runs before: a stream that comes back is no foreign file", async () => {
    await run(1, "old");
    const second = await open(2, 1);
    await write(second, "a", "second");
    await second.commit();
    await second.close();
    expect([await get("out/a.csv"), await get("out/b.csv")]).toEqual(["second\n", "old\n"]);
    await run(3, "third");
    expect([await get("out/a.csv"), await get("out/b.csv")]).toEqual(["third\n", "third\n"]);
  });
});

describe("a file that this job did not write", () => {
  test("is not overwritten, whether it was there before the writing or came before the commit", async () => {
    await mkdir(join(root, "out"));
    await writeFile(join(root, "out/a.csv"), "mine\n");
    const writer = await open(1, 1);
    await expect(write(writer, "a", "new")).rejects.toThrow(/was not written by this job/);
    await write(writer, "b", "new");
    await writeFile(join(root, "out/b.csv"), "mine\n");
    await expect(writer.commit()).rejects.toThrow(/out\/b\.csv.*was not written by this job/);
    await writer.close();
    expect([await get("out/a.csv"), await get("out/b.csv")]).toEqual(["mine\n", "mine\n"]);
  });

  test("is not overwritten where another job wrote it, even if it is gone just now", async () => {
    await run(1, "theirs", "other");
    await rm(join(root, "out/a.csv"));
    const writer = await open(1, 1);
    await expect(write(writer, "a", "new")).rejects.toThrow(/belongs to job other/);
    await expect(write(writer, "b", "new")).rejects.toThrow(/belongs to job other/);
    await write(writer, "c", "new");
    await writer.commit();
    await writer.close();
    expect([await get("out/b.csv"), await get("out/c.csv")]).toEqual(["theirs\n", "new\n"]);
  });

  test("is not followed where a link stands at its place, and no folder is replaced", async () => {
    await run(1, "old");
    await writeFile(join(home, "outside"), "outside");
    await rm(join(root, "out/a.csv"));
    await symlink(join(home, "outside"), join(root, "out/a.csv"));
    await run(2, "new");
    expect([await readFile(join(home, "outside"), "utf8"), await get("out/a.csv")]).toEqual([
      "outside",
      "new\n",
    ]);
    await rm(join(root, "out/a.csv"));
    await mkdir(join(root, "out/a.csv"));
    await expect(run(3, "newer")).rejects.toMatchObject({ code: "invalid_config" });
    expect(await get("out/b.csv")).toBe("new\n");
  });

  test("two streams that would be one file are refused", async () => {
    const writer = await open(1, 1);
    await write(writer, "a/b", "1");
    await expect(write(writer, "a:b", "2")).rejects.toThrow(
      /"a\/b" and "a:b" would both be the file "a_b.csv"/,
    );
    await writer.close();
  });
});

describe("an overtaken attempt", () => {
  test("is stopped when it opens, writes or commits, and changes nothing", async () => {
    await run(1, "old");
    const stale = await open(2, 1);
    await write(stale, "a", "stale");
    const newer = await open(2, 2);
    await expect(write(stale, "b", "stale")).rejects.toThrow(FencedError);
    await expect(stale.commit()).rejects.toThrow(FencedError);
    await stale.close();
    await expect(open(2, 1)).rejects.toThrow(FencedError);
    expect(await get("out/a.csv")).toBe("old\n");
    await write(newer, "a", "new");
    await newer.commit();
    await newer.close();
    expect(await get("out/a.csv")).toBe("new\n");
    await expect(open(1, 9)).rejects.toThrow(FencedError);
  });

  test("is stopped in the middle of a stream", async () => {
    const stale = await open(1, 1);
    const batches = (async function* () {
      yield { rows: [["1"]], bytes: 0 };
      await (await open(1, 2)).close();
      yield { rows: [["2"]], bytes: 0 };
    })();
    await expect(stale.write(streamOf("a"), { encoding: "rows", batches }, () => {})).rejects.toThrow(
      FencedError,
    );
    await stale.close();
    expect(await privateFiles()).toEqual(["r1a2"]);
  });

  test("stays stopped when the newer one failed and went away", async () => {
    const stale = await open(2, 1);
    await (await open(2, 2)).close();
    await expect(stale.commit()).rejects.toThrow(FencedError);
    await expect(open(2, 1)).rejects.toThrow(FencedError);
    await expect(open(1, 3)).rejects.toThrow(FencedError);
    await stale.close();
  });

  test("is stopped between the draft of its record and its commit", async () => {
    await run(1, "old");
    const held = gate("recorded");
    const stale = await open(2, 1, { onPoint: held.onPoint });
    await write(stale, "a", "stale");
    const commit = expect(stale.commit()).rejects.toThrow(FencedError);
    await held.arrived;
    const newer = await open(2, 2);
    held.release();
    await commit;
    await stale.close();
    expect(newer.committed).toBeNull();
    expect(await get("out/a.csv")).toBe("old\n");
    await write(newer, "a", "new");
    await newer.commit();
    await newer.close();
    expect(await get("out/a.csv")).toBe("new\n");
  });

  test("that committed before it was overtaken has committed: the newer one completes it", async () => {
    const held = gate("linked");
    const first = await open(1, 1, { onPoint: held.onPoint });
    await write(first, "a", "first");
    await write(first, "b", "first");
    const commit = first.commit();
    await held.arrived;
    const newer = await open(1, 2);
    expect([...(newer.committed?.keys() ?? [])]).toEqual(["a", "b"]);
    expect([await get("out/a.csv"), await get("out/b.csv")]).toEqual(["first\n", "first\n"]);
    await newer.close();
    await run(2, "second");
    held.release();
    await commit;
    await first.close();
    expect([await get("out/a.csv"), await get("out/b.csv")]).toEqual(["second\n", "second\n"]);
    expect(await privateFiles()).toEqual(["commit-r2.json"]);
  });

  test.each([
    [1, 2],
    [2, 1],
  ])("whose commit slips in while run %i, attempt %i overtakes it is completed", async (run, attempt) => {
    const held = gate("recorded");
    const slow = await open(1, 1, { onPoint: held.onPoint });
    await write(slow, "a", "first");
    const commit = expect(slow.commit()).rejects.toThrow(FencedError);
    await held.arrived;
    // Its folder has lost the name, its draft is there still: a link that looked the draft up before comes now.
    const job = join(root, "out/.gatehouse/job");
    const slip: OnPoint = async (point) => {
      if (point !== "aside") return;
      const aside = (await readdir(job)).find((name) => name.startsWith("gone-")) ?? "";
      await link(join(job, aside, ".commit.json"), join(job, "commit-r1.json"));
    };
    const newer = await open(run, attempt, { onPoint: slip });
    expect(await get("out/a.csv")).toBe("first\n");
    expect(newer.committed === null).toBe(run === 2);
    held.release();
    await commit;
    await slow.close();
    await newer.close();
  });

  test("of several that come at once exactly one commits, and its file is in place", async () => {
    const attempts = async (round: number, attempt: number): Promise<number | null> => {
      let writer: DestinationWriter | undefined;
      try {
        writer = await open(1, attempt, { jobId: `job-${round}` });
        if (writer.committed !== null) return null;
        await write(writer, `s${round}`, String(attempt));
        await writer.commit();
        return attempt;
      } catch (error) {
        if (error instanceof FencedError) return null;
        throw error;
      } finally {
        await writer?.close();
      }
    };
    for (let round = 1; round <= 20; round += 1) {
      const outcomes = await Promise.all([1, 2, 3].map((attempt) => attempts(round, attempt)));
      const winners = outcomes.filter((attempt) => attempt !== null);
      expect(winners).toHaveLength(1);
      expect(await get(`out/s${round}.csv`)).toBe(`${winners[0]}\n`);
    }
  });
});

describe("a writer that is killed", () => {
  const connector = pathToFileURL("src/connectors/file/connector.ts").href;

  /** Runs a whole attempt in a process of its own that kills itself at the nth time of a point. */
  async function killed(run: number, attempt: number, point: string, nth: number): Promise<void> {
    const code = `
      import { createFileConnector } from ${JSON.stringify(connector)};
      let left = ${nth};
      const die = () => process.kill(process.pid, "SIGKILL");
      const onPoint = (point) => { if (point === ${JSON.stringify(point)} && --left === 0) die(); };
      const { destination } = createFileConnector({ root: ${JSON.stringify(root)}, readOnlyRoots: [], onPoint });
      const context = { signal: new AbortController().signal, log: () => {} };
      const fence = { jobId: "job", run: ${run}, attempt: ${attempt} };
      const writer = await destination.open(${JSON.stringify(CONFIG)}, fence, context);
      const columns = [{ name: "v", type: "string", nullable: true }];
      for (const name of ["a", "b"]) {
        const batches = (async function* () {
          yield { rows: [["new"]], bytes: 0 };
          onPoint("row");
        })();
        const stream = { name, columns, primaryKey: [], cursorFields: [], syncModes: ["full_refresh"] };
        if (writer.committed === null) await writer.write(stream, { encoding: "rows", batches }, () => {});
      }
      await writer.commit();
      await writer.close();
    `;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", code], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const [, signal] = await once(child, "exit");
    expect(signal).toBe("SIGKILL");
  }

  async function contents(): Promise<readonly (string | null)[]> {
    return [await get("out/a.csv"), await get("out/b.csv")];
  }

  test.each([
    ["opened", 1, false],
    ["aside", 1, false],
    ["row", 2, false],
    ["written", 2, false],
    ["recorded", 1, false],
    ["linked", 1, true],
    ["placed", 1, true],
    ["placed", 2, true],
    ["cleaned", 1, true],
  ] as const)(
    "at %s (%i) leaves whole files, and the next attempt starts over or completes it",
    async (point, nth, happened) => {
      await run(1, "old");
      await killed(2, 1, point, nth);
      const seen = await contents();
      expect(seen.every((content) => content === "old\n" || content === "new\n")).toBe(true);
      if (!happened) expect(seen).toEqual(["old\n", "old\n"]);

      const next = await open(2, 2);
      expect(next.committed !== null).toBe(happened);
      if (happened) {
        expect(next.committed?.get("b")).toEqual({ rows: 1, bytes: 4 });
      } else {
        expect(await contents()).toEqual(["old\n", "old\n"]);
        await write(next, "a", "new");
        await write(next, "b", "new");
      }
      await next.commit();
      await next.close();
      expect(await contents()).toEqual(["new\n", "new\n"]);
      expect(await privateFiles()).toEqual(["commit-r2.json"]);
    },
  );

  test("while it completes the commit of one that was killed leaves that to the next, the next run too", async () => {
    await run(1, "old");
    await killed(2, 1, "linked", 1);
    await killed(2, 2, "placed", 1);
    expect(await contents()).toEqual(["new\n", "old\n"]);
    const next = await open(3, 1);
    expect(next.committed).toBeNull();
    expect(await contents()).toEqual(["new\n", "new\n"]);
    await next.close();
  });
});

describe("the connection test", () => {
  test("proves that the folder, or the nearest that exists, can be written to, and leaves nothing behind", async () => {
    await destination().check({ path: "x/y/z" }, context);
    expect(await readdir(root)).toEqual([]);
    await mkdir(join(root, "x"));
    await destination().check({ path: "x" }, context);
    expect(await readdir(root, { recursive: true })).toEqual(["x"]);
    await writeFile(join(root, "file"), "");
    await expect(destination().check({ path: "file/x" }, context)).rejects.toMatchObject({
      code: "not_found",
    });
  });

  test("faults of the configuration are named", async () => {
    const faults: readonly (readonly [ConnectorConfig, RegExp])[] = [
      [{ path: "x", format: "xml" }, /"format" must be one of csv, jsonl/],
      [{ path: "x", delimiter: '"' }, /"delimiter"/],
      [{ path: "x", delimiter: "ab" }, /"delimiter"/],
      [{ path: "x", null_value: "a,b" }, /"null_value"/],
      [{ path: "x/*" }, /pattern/],
      [{}, /"path" is missing/],
    ];
    for (const [config, message] of faults) {
      await expect(destination().check(config, context)).rejects.toThrow(message);
    }
  });
});
