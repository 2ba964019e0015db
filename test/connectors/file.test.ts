import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import {
  appendFile,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { Ajv } from "ajv";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ConnectorConfig, ConnectorContext, Stream, Value } from "../../src/connectors/connector.js";
import { createFileConnector } from "../../src/connectors/file/connector.js";

const context: ConnectorContext = { signal: new AbortController().signal, log: () => {} };

let home: string;
let root: string;
let outside: string;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "gatehouse-file-"));
  root = join(home, "files");
  outside = join(home, "outside");
  await mkdir(root);
  await mkdir(outside);
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

function connector() {
  return createFileConnector({ root, readOnlyRoots: [{ name: "examples", path: resolve("examples") }] });
}

function source() {
  const { source } = connector();
  if (source === undefined) throw new Error("no source");
  return source;
}

function destination() {
  const { destination } = connector();
  if (destination === undefined) throw new Error("no destination");
  return destination;
}

async function put(path: string, content: string | Buffer): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), content);
}

async function get(path: string): Promise<string> {
  return await readFile(join(root, path), "utf8");
}

interface Content {
  readonly stream: Stream;
  readonly rows: readonly (readonly Value[])[];
  readonly bytes: number;
}

async function readAll(config: ConnectorConfig, name: string, signal = context.signal): Promise<Content> {
  const reader = await source().open(config, { ...context, signal });
  try {
    const stream = await reader.describe(name, undefined);
    const data = await reader.read(stream, "rows");
    if (data.encoding !== "rows") throw new Error("not rows");
    const rows: (readonly Value[])[] = [];
    let bytes = 0;
    for await (const batch of data.batches) {
      rows.push(...batch.rows);
      bytes += batch.bytes;
    }
    return { stream, rows, bytes };
  } finally {
    await reader.close();
  }
}

function types(stream: Stream | undefined): Record<string, string> {
  return Object.fromEntries((stream?.columns ?? []).map((column) => [column.name, column.type]));
}

let runs = 0;

async function sync(from: ConnectorConfig, to: ConnectorConfig, signal = context.signal): Promise<void> {
  const reader = await source().open(from, { ...context, signal });
  runs += 1;
  const fence = { jobId: `job-${String(to["path"])}`, run: runs, attempt: 1 };
  const writer = await destination().open(to, fence, { ...context, signal });
  try {
    for (const { name } of await source().discover(from, context)) {
      const stream = await reader.describe(name, undefined);
      await writer.write(stream, await reader.read(stream, "rows"), () => {});
    }
    await writer.commit();
  } finally {
    await writer.close();
    await reader.close();
  }
}

test("both specs are schemas that a strict validator takes, and tell faults", () => {
  const ajv = new Ajv({ strict: true, allErrors: true });
  const from = ajv.compile(source().spec);
  expect(from({ path: "a", delimiter: "\\t", quote: "", columns: { zip: "string" }, infer_rows: 5 })).toBe(
    true,
  );
  expect(
    from({ format: "xml", delimiter: "ab", columns: { zip: "text" }, infer_rows: 0, encoding: "x" }),
  ).toBe(false);
  expect(from.errors).toHaveLength(6);
  const to = ajv.compile(destination().spec);
  expect(to({ path: "out", format: "jsonl" })).toBe(true);
  expect(to({ path: "out", null_value: "\n" })).toBe(false);
});

describe("reading", () => {
  test("values are as the port says: big numbers and decimals as text, times in ISO 8601, no value as null", async () => {
    await put(
      "a.csv",
      "i,big,dec,f,b,d,ts,tz,zip,s\n" +
        "1,9007199254740993,1.50,1.5e-3,TRUE,2024-02-29,2024-01-31 10:00,2024-01-31 10:00:00+01,01234,x\n" +
        ',,,,,,,,,""\n',
    );
    const { stream, rows } = await readAll({ path: "a.csv" }, "a");
    expect(types(stream)).toEqual({
      i: "integer",
      big: "integer",
      dec: "decimal",
      f: "float",
      b: "boolean",
      d: "date",
      ts: "timestamp",
      tz: "timestamptz",
      zip: "string",
      s: "string",
    });
    const times = ["2024-02-29", "2024-01-31T10:00:00", "2024-01-31T10:00:00+01:00"];
    expect(rows[0]).toEqual([1, "9007199254740993", "1.50", 0.0015, true, ...times, "01234", "x"]);
    expect(rows[1]).toEqual([null, null, null, null, null, null, null, null, null, ""]);
  });

  test("quotes, delimiters, line ends and any script survive, with BOM, CRLF and gzip", async () => {
    const text = '\ufeffname,note\r\n"O""Brien, P.","two\r\nlines"\r\n东京,"😀"\r\n\r\nlast,';
    await put("a.csv", text);
    await put("b.csv.gz", gzipSync(text));
    // Members that are joined are one gzip file (RFC 1952, section 2.2).
    await put("c.csv.gz", Buffer.concat([gzipSync(text.slice(0, 20)), gzipSync(text.slice(20))]));
    const rows = [
      ['O"Brien, P.', "two\r\nlines"],
      ["东京", "😀"],
      ["last", null],
    ];
    for (const name of ["a", "b", "c"]) {
      const content = await readAll({ path: "." }, name);
      expect(content.stream.columns.map((column) => column.name)).toEqual(["name", "note"]);
      expect(content.rows).toEqual(rows);
    }
  });

  test("bytes are those of the disk", async () => {
    const packed = gzipSync(`a\n${"1\n".repeat(5_000)}`);
    await put("a.csv.gz", packed);
    expect((await readAll({ path: "a.csv.gz" }, "a")).bytes).toBe(packed.length);
  });

  test("JSONL keeps types, every digit and every key", async () => {
    await put(
      "a.jsonl",
      '{"id":12345678901234567890,"price":1.10,"big":9007199254740993,"tags":["x"],"__proto__":"p"}\r\n' +
        '\n{"id":1,"price":2,"ok":true,"at":"2024-01-31T10:00:00Z","constructor":null}',
    );
    const { stream, rows } = await readAll({ path: "a.jsonl" }, "a");
    expect(types(stream)).toMatchObject({
      id: "decimal",
      price: "decimal",
      big: "integer",
      tags: "json",
      ok: "boolean",
    });
    expect(stream.columns.map((column) => column.name)).toContain("__proto__");
    expect(rows).toEqual([
      ["12345678901234567890", "1.10", "9007199254740993", ["x"], "p", null, null, null],
      ["1", "2", null, null, null, true, "2024-01-31T10:00:00Z", null],
    ]);
  });

  test("a folder is all its files, a pattern those that match, and hidden ones never", async () => {
    await put("in/a.csv", "x\n1\n");
    await put("in/b.2024.jsonl", '{"x":1}\n');
    await put("in/.c.csv", "x\n1\n");
    await put("in/readme.md", "x");
    const names = async (config: ConnectorConfig) =>
      (await source().discover(config, context)).map((s) => s.name);
    expect(await names({ path: "in" })).toEqual(["a", "b.2024"]);
    expect(await names({ path: "in", format: "csv" })).toEqual(["a"]);
    expect(await names({ path: "in/*.jsonl" })).toEqual(["b.2024"]);
    await expect(names({ path: "in/*.parquet" })).rejects.toMatchObject({ code: "not_found" });
    await put("in/a.csv.gz", gzipSync("x\n1\n"));
    await expect(names({ path: "in" })).rejects.toThrow(/both be the stream "a"/);
  });

  test("options: delimiter, quote, header, null value, declared types", async () => {
    await put("a.txt", "1;'a;b';NULL;007\n2;'NULL';x;008\n");
    const config = {
      path: "a.txt",
      format: "csv",
      delimiter: ";",
      quote: "'",
      header: false,
      null_value: "NULL",
    };
    const { rows } = await readAll({ ...config, columns: { column_4: "integer" } }, "a");
    expect(rows).toEqual([
      [1, "a;b", null, 7],
      [2, "NULL", "x", 8],
    ]);
    await put("t.tsv", "a\tb\n1\t2\n");
    expect((await readAll({ path: "t.tsv" }, "t")).rows).toEqual([[1, 2]]);
    await expect(readAll({ path: "t.tsv", columns: { zip: "string" } }, "t")).rejects.toThrow(/it has a, b/);
  });

  test("only the columns that the stream names are read, in its order", async () => {
    await put("a.csv", "a,b,c\n1,2,3\n");
    const reader = await source().open({ path: "a.csv" }, context);
    const stream = await reader.describe("a", undefined);
    const [a, , c] = stream.columns;
    if (a === undefined || c === undefined) throw new Error("columns are missing");
    const data = await reader.read({ ...stream, columns: [c, a] }, "rows");
    if (data.encoding !== "rows") throw new Error("not rows");
    for await (const batch of data.batches) expect(batch.rows).toEqual([[3, 1]]);
    await reader.close();
  });

  test("the examples can be read but not written", async () => {
    const customers = await readAll({ path: "examples/customers.csv" }, "customers");
    expect(customers.rows).toHaveLength(5_000);
    expect(types(customers.stream)).toMatchObject({
      id: "integer",
      zip: "string",
      lifetime_value: "decimal",
    });
    expect((await readAll({ path: "examples" }, "orders")).rows).toHaveLength(3_000);
    await expect(destination().check({ path: "examples/x" }, context)).rejects.toThrow(/read-only/);
  });
});

test("a stream tells how much there is in the unit in which its batches count, packed or not", async () => {
  const text = `id,name\n${Array.from({ length: 30_000 }, (_, i) => `${i},name ${i * 7919}\n`).join("")}`;
  await put("plain.csv", text);
  await put("packed.csv.gz", gzipSync(text));
  await put("lines.jsonl", '{"a": 1}\n'.repeat(20_000));
  for (const [path, name] of [
    ["plain.csv", "plain"],
    ["packed.csv.gz", "packed"],
    ["lines.jsonl", "lines"],
  ] as const) {
    const { stream, bytes } = await readAll({ path }, name);
    expect(stream.estimate).toEqual({ bytes: (await stat(join(root, path))).size });
    expect(bytes, path).toBe(stream.estimate?.bytes);
  }
});

describe("a fault of the content names the place", () => {
  const many = `id,zip,note\n${'1,2,"a\nb"\n'.repeat(5)}`;

  test("a value that does not fit: stream, column, line behind fields of several lines, value, and what to do", async () => {
    // Header, five records of two lines, then a record whose own first field has two lines more.
    await put(
      "a.csv",
      `${many.replace("id,zip,note", "note,zip,id").replaceAll('1,2,"a\nb"', '"a\nb",2,1')}"x\n\ny",01234,1\n`,
    );
    const read = readAll({ path: "a.csv", infer_rows: 3 }, "a");
    await expect(read).rejects.toMatchObject({
      code: "invalid_data",
      details: { stream: "a", path: "a.csv", column: "zip", line: 14, value: "01234", expected: "integer" },
    });
    await expect(read).rejects.toThrow(
      /line 14, column "zip": the value "01234".*"columns": \{"zip":"string"\}/,
    );
    const config = { path: "a.csv", infer_rows: 3, columns: { zip: "string" } };
    expect((await readAll(config, "a")).rows.at(-1)).toEqual(["x\n\ny", "01234", 1]);
  });

  test("a long value is cut", async () => {
    await put("a.csv", `a\n1\n${"x".repeat(1_000)}\n`);
    const read = readAll({ path: "a.csv", infer_rows: 1 }, "a");
    await expect(read).rejects.toMatchObject({ details: { value: `${"x".repeat(80)}...` } });
  });

  test.each([
    ["too few fields", `${many}1,2\n`, 12, /2 fields and not 3/],
    ["too many fields", `${many}1,2,3,4\n`, 12, /4 fields and not 3/],
    ["an open quote", `${many}1,2,"x\n`, 12, /never closed/],
    ["a column named twice", "id,a,id\n", 1, /"id" twice/],
  ])("%s", async (_name, text, line, message) => {
    await put("a.csv", text);
    const read = readAll({ path: "a.csv" }, "a");
    await expect(read).rejects.toMatchObject({ code: "invalid_data", details: { line, stream: "a" } });
    await expect(read).rejects.toThrow(message);
  });

  test("text that is not UTF-8, also behind the first piece and cut off within a character", async () => {
    const line = `${"ü".repeat(40)}\n`;
    const long = Buffer.from(`a\n${line.repeat(5_000)}`);
    await put("a.csv", Buffer.concat([long, Buffer.from("ok\nK\xf6ln\n", "latin1")]));
    await expect(readAll({ path: "a.csv" }, "a")).rejects.toMatchObject({
      code: "invalid_data",
      details: { line: 5_003, path: "a.csv" },
    });
    await put("b.csv", Buffer.from("a\nü").subarray(0, 3));
    await expect(readAll({ path: "b.csv" }, "b")).rejects.toMatchObject({ details: { line: 2 } });
    await put("c.csv", Buffer.from("\ufeffa\nb\n", "utf16le"));
    await expect(readAll({ path: "c.csv" }, "c")).rejects.toThrow(/UTF-16/);
  });

  test("gzip data that is cut off or damaged", async () => {
    const packed = gzipSync(`a\n${Array.from({ length: 20_000 }, (_, i) => i * 7919).join("\n")}\n`);
    await put("a.csv.gz", packed.subarray(0, packed.length - 20));
    await expect(readAll({ path: "a.csv.gz" }, "a")).rejects.toMatchObject({ code: "invalid_data" });
    await put("b.csv.gz", "no gzip at all");
    await expect(readAll({ path: "b.csv.gz" }, "b")).rejects.toThrow(/gzip data is damaged/);
  });

  test("JSONL: broken JSON, a line that is no object, a key that comes later", async () => {
    await put("a.jsonl", '{"a":1}\n\n{"a":\n');
    await expect(readAll({ path: "a.jsonl" }, "a")).rejects.toMatchObject({ details: { line: 3 } });
    await put("b.jsonl", "{}\n[1]\n");
    await expect(readAll({ path: "b.jsonl" }, "b")).rejects.toMatchObject({ details: { line: 2 } });
    await put("c.jsonl", '{"a":1}\n{"a":2,"b":{"c":1}}\n');
    const read = readAll({ path: "c.jsonl", infer_rows: 1 }, "c");
    await expect(read).rejects.toMatchObject({ code: "invalid_data", details: { line: 2, column: "b" } });
    await expect(read).rejects.toThrow(/"columns": \{"b":"string"\}/);
    const declared = await readAll({ path: "c.jsonl", infer_rows: 1, columns: { b: "json" } }, "c");
    expect(declared.rows).toEqual([
      [1, null],
      [2, { c: 1 }],
    ]);
  });

  test("JSONL: an object in a column of numbers, whatever its keys", async () => {
    await put("a.jsonl", '{"a":1e21}\n{"a":{"toString":""}}\n');
    const read = readAll({ path: "a.jsonl", infer_rows: 1 }, "a");
    await expect(read).rejects.toMatchObject({
      details: { line: 2, value: '{"toString":""}', expected: "float" },
    });
    await expect(read).rejects.toThrow(/first 1 records.*"columns": \{"a":"json"\}/);
  });

  test("an empty file, and a file that is not there", async () => {
    await put("a.csv", "");
    await expect(source().check({ path: "a.csv" }, context)).rejects.toThrow(/empty/);
    await expect(source().check({ path: "in/b.csv" }, context)).rejects.toMatchObject({
      code: "not_found",
      message: '"in/b.csv" does not exist below the files root',
    });
    await expect(readAll({ path: "a.csv" }, "other")).rejects.toMatchObject({ code: "not_found" });
  });
});

describe("no path leaves the root", () => {
  beforeEach(async () => {
    await writeFile(join(outside, "secret.csv"), "secret\n1\n");
  });

  async function refused(path: string, message: RegExp, stream = "secret"): Promise<void> {
    await expect(source().check({ path }, context)).rejects.toThrow(message);
    await expect(source().discover({ path }, context)).rejects.toThrow(message);
    await expect(readAll({ path }, stream)).rejects.toThrow(message);
  }

  test("by .., by an absolute path, by a backslash, by NUL", async () => {
    await refused("../outside/secret.csv", /must not leave/);
    await refused("a/../../outside/secret.csv", /must not leave/);
    await refused(join(outside, "secret.csv"), /must be relative/);
    await refused("..\\outside\\secret.csv", /backslash/);
    await refused("a.csv\0/../x", /NUL/);
    for (const path of ["../outside", "a/../../outside", outside, "..\\outside", ".", "a/.gatehouse/b"]) {
      await expect(destination().check({ path }, context)).rejects.toMatchObject({ code: "invalid_config" });
    }
  });

  test("by a link to a file, to a folder, in the middle, in a folder that is listed; nor by one that stays inside", async () => {
    await put("real/inside.csv", "a\n1\n");
    await symlink(join(outside, "secret.csv"), join(root, "secret.csv"));
    await symlink(outside, join(root, "folder"));
    await symlink("real", join(root, "inner"));
    await mkdir(join(root, "listed"));
    await symlink(join(outside, "secret.csv"), join(root, "listed", "secret.csv"));
    for (const path of [
      "secret.csv",
      "folder",
      "folder/secret.csv",
      "folder/*.csv",
      "inner/inside.csv",
      "listed",
    ]) {
      await refused(path, /symbolic link/);
    }
    const fence = { jobId: "j", run: 1, attempt: 1 };
    for (const path of ["folder", "folder/out"]) {
      await expect(destination().check({ path }, context)).rejects.toThrow(/symbolic link/);
      await expect(destination().open({ path }, fence, context)).rejects.toThrow(/symbolic link/);
    }
  });

  test("by a link that takes a folder's place between two looks at it", async () => {
    await put("in/secret.csv", "inside\n1\n");
    const reader = await source().open({ path: "in" }, context);
    await reader.describe("secret", undefined);
    await rename(join(root, "in"), join(root, "moved"));
    await symlink(outside, join(root, "in"));
    await expect(reader.describe("secret", undefined)).rejects.toThrow(/symbolic link/);
    await reader.close();
  });

  test("by links that are swapped in and out all the time", async () => {
    await put("in/secret.csv", "inside\n1\n");
    let swapping = true;
    const swapper = (async () => {
      while (swapping) {
        await rename(join(root, "in"), join(root, "moved"));
        await symlink(outside, join(root, "in"));
        await rm(join(root, "in"));
        await rename(join(root, "moved"), join(root, "in"));
      }
    })();
    const seen = new Set<string>();
    for (let i = 0; i < 300; i += 1) {
      const read = readAll({ path: "in/secret.csv" }, "secret");
      seen.add(
        await read.then(
          ({ stream }) => stream.columns[0]?.name ?? "",
          (error: Error) => error.name,
        ),
      );
    }
    swapping = false;
    await swapper;
    expect(seen).not.toContain("secret");
    expect([...seen].every((name) => name === "inside" || name === "ConnectorError")).toBe(true);
  });

  test("and only regular files are opened: no FIFO waits for a writer, no socket, no device", async () => {
    execFileSync("mkfifo", [join(root, "fifo.csv")]);
    await refused("fifo.csv", /not a regular file/, "fifo");
    const server = createServer().listen(join(root, "socket.csv"));
    await once(server, "listening");
    await refused("socket.csv", /not a regular file/, "socket");
    server.close();
  });

  test.skipIf(process.getuid?.() !== 0)("nor a device", async () => {
    execFileSync("mknod", [join(root, "zero.csv"), "c", "1", "5"]);
    await refused("zero.csv", /not a regular file/, "zero");
  });
});

/** Bytes that are reachable: without the collection, garbage of other tests would be measured. */
function memoryInUse(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

describe("a large file", () => {
  test("of 200,000 rows passes in bounded memory, batches too", async () => {
    const out = createWriteStream(join(root, "big.csv"));
    out.write("id,name,note\n");
    for (let i = 0; i < 200_000; i += 1) {
      if (!out.write(`${i},"name, ${i}",${"x".repeat(100)}\n`)) await once(out, "drain");
    }
    out.end();
    await once(out, "finish");
    let peak = 0;
    const before = memoryInUse();
    const reader = await source().open({ path: "big.csv" }, context);
    const stream = await reader.describe("big", undefined);
    const data = await reader.read(stream, "rows");
    if (data.encoding !== "rows") throw new Error("not rows");
    let rows = 0;
    for await (const batch of data.batches) {
      expect(batch.rows.length).toBeLessThanOrEqual(1_000);
      rows += batch.rows.length;
      if (rows % 20_000 === 0) peak = Math.max(peak, memoryInUse());
    }
    await reader.close();
    expect(rows).toBe(200_000);
    expect(peak).toBeGreaterThan(0);
    // The file has 25 MB; all of its rows at once would take more than 60.
    expect(peak - before).toBeLessThan(20 * 1024 * 1024);
  });

  test("that changes between its description and its reading, or while it is read, gives no mixture", async () => {
    await put("a.csv", `a\n${"1\n".repeat(300_000)}`);
    const reader = await source().open({ path: "a.csv" }, context);
    const stream = await reader.describe("a", undefined);
    const data = await reader.read(stream, "rows");
    if (data.encoding !== "rows") throw new Error("not rows");
    const batches = data.batches[Symbol.asyncIterator]();
    await batches.next();
    await appendFile(join(root, "a.csv"), "2\n");
    const rest = (async () => {
      while (!(await batches.next()).done);
    })();
    await expect(rest).rejects.toMatchObject({
      code: "invalid_data",
      message: /changed while it was being read/,
    });
    const late = await reader.read(stream, "rows");
    if (late.encoding !== "rows") throw new Error("not rows");
    await expect(late.batches[Symbol.asyncIterator]().next()).rejects.toThrow(/changed while/);
    await reader.close();
  });

  test("that is rewritten in place with the same size is noticed, one replaced by rename is read whole", async () => {
    await put("a.csv", `a\n${"1\n".repeat(300_000)}`);
    const start = async () => {
      const reader = await source().open({ path: "a.csv" }, context);
      const data = await reader.read(await reader.describe("a", undefined), "rows");
      if (data.encoding !== "rows") throw new Error("not rows");
      const batches = data.batches[Symbol.asyncIterator]();
      let rows = (await batches.next()).value?.rows.length ?? 0;
      return async () => {
        for (let next = await batches.next(); !next.done; next = await batches.next())
          rows += next.value.rows.length;
        return rows;
      };
    };
    const first = await start();
    await utimes(join(root, "a.csv"), new Date(1_000), new Date(1_000));
    await expect(first()).rejects.toThrow(/changed while/);
    const second = await start();
    await put("b.tmp", "a\n9\n");
    await rename(join(root, "b.tmp"), join(root, "a.csv"));
    expect(await second()).toBe(300_000);
  });

  test("stops when the signal is aborted, and then the target has its old content and nothing lies beside it", async () => {
    await put("a.csv", `a\n${"1\n".repeat(300_000)}`);
    await put("first/a.csv", "a\n0\n");
    await sync({ path: "first/a.csv" }, { path: "out" });
    const abort = new AbortController();
    const reader = await source().open({ path: "a.csv" }, { ...context, signal: abort.signal });
    const stream = await reader.describe("a", undefined);
    const fence = { jobId: "job-out", run: 1_000, attempt: 1 };
    const writer = await destination().open({ path: "out" }, fence, { ...context, signal: abort.signal });
    const data = await reader.read(stream, "rows");
    if (data.encoding !== "rows") throw new Error("not rows");
    const batches = async function* () {
      let count = 0;
      if (data.encoding !== "rows") return;
      for await (const batch of data.batches) {
        count += 1;
        if (count === 5) abort.abort(new Error("stopped by the user"));
        yield batch;
      }
    };
    const write = writer.write(stream, { encoding: "rows", batches: batches() }, () => {});
    await expect(write).rejects.toThrow("stopped by the user");
    await expect(writer.commit()).rejects.toThrow("stopped by the user");
    await writer.close();
    await reader.close();
    expect(await get("out/a.csv")).toBe("a\n0\n");
    const left = execFileSync("find", [join(root, "out"), "-type", "f"], { encoding: "utf8" })
      .trim()
      .split("\n");
    expect(left.map((path) => path.slice(root.length)).sort()).toEqual([
      expect.stringMatching(/^\/out\/\.gatehouse\/job-out\/commit-r\d+\.json$/),
      "/out/a.csv",
    ]);
  });
});

describe("a round trip", () => {
  const CSV =
    "id,big,price,ok,on,at,zip,note,empty\n" +
    '1,9007199254740993,1.10,true,2024-02-29,2024-01-31T10:00:00Z,01234,"a ""b"", c\nd",""\n' +
    "2,18446744073709551615,-2,false,2023-01-01,2024-01-31T10:00:00.5+02:00,99999,东京 😀,x\n" +
    "3,,,,,,,,\n";

  test("CSV to CSV gives the same bytes", async () => {
    await put("in/a.csv", CSV);
    await sync({ path: "in/a.csv" }, { path: "out" });
    expect(await get("out/a.csv")).toBe(CSV);
  });

  test("CSV to JSONL keeps types and digits, and back again gives the same bytes", async () => {
    await put("in/a.csv", CSV);
    await sync({ path: "in" }, { path: "out", format: "jsonl" });
    const [first, second, third] = (await get("out/a.jsonl")).split("\n");
    expect(first).toBe(
      '{"id":1,"big":9007199254740993,"price":1.10,"ok":true,"on":"2024-02-29","at":"2024-01-31T10:00:00Z",' +
        '"zip":"01234","note":"a \\"b\\", c\\nd","empty":""}',
    );
    expect(second).toContain('"big":18446744073709551615,"price":-2,');
    expect(third).toContain('"id":3,"big":null,');
    await sync({ path: "out/a.jsonl" }, { path: "back" });
    expect(await get("back/a.csv")).toBe(CSV);
  });

  test("JSONL to JSONL gives the same bytes, nested values included", async () => {
    const text =
      '{"a":{"b":[1,"x",null]},"c":[],"d":1.50,"__proto__":null}\n{"a":"x","c":1,"d":null,"__proto__":"y"}\n';
    await put("in/a.jsonl", text);
    await sync({ path: "in/a.jsonl" }, { path: "out", format: "jsonl" });
    expect(await get("out/a.jsonl")).toBe(text);
  });

  test("the examples come out as they are", async () => {
    await sync({ path: "examples/customers.csv" }, { path: "out" });
    expect(await get("out/customers.csv")).toBe(await readFile("examples/customers.csv", "utf8"));
    await sync({ path: "examples/orders.jsonl" }, { path: "out2", format: "jsonl" });
    expect(await get("out2/orders.jsonl")).toBe(await readFile("examples/orders.jsonl", "utf8"));
  });

  test("another delimiter, no header, another null value", async () => {
    await put("a.csv", 'a,b,c\n1,NULL,\n2,"x;y",""\n');
    await sync({ path: "a.csv" }, { path: "out", delimiter: ";", header: false, null_value: "NULL" });
    expect(await get("out/a.csv")).toBe('1;"NULL";NULL\n2;"x;y";""\n');
  });
});
