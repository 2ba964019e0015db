import { afterAll, beforeAll, expect, test } from "vitest";
import { newId } from "../../src/platform/ids.js";
import { Database, type Sql } from "../../src/platform/sql.js";
import { StepLog } from "../../src/worker/step-log.js";
import { silent } from "../operations/support.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";

const MIB = 1024 * 1024;

let database: TestDatabase;
let db: Database;
beforeAll(async () => {
  database = await createDatabase();
  db = new Database(database.url, 2, silent);
});
afterAll(async () => {
  await db.close();
  await database.drop();
});

interface Line {
  readonly step: string;
  readonly level: string;
  readonly message: string;
  readonly offset: string;
}

const write = (work: (tx: Sql) => Promise<void>): Promise<void> => db.transaction(work);

function open(runId: string): StepLog {
  return new StepLog(runId, write, silent);
}

/** In the order in which clients are shown them. */
function linesOf(runId: string): Promise<Line[]> {
  return database.query<Line>(
    `SELECT step, level, message, "offset" FROM step_logs WHERE run_id = $1 ORDER BY id`,
    [runId],
  );
}

test("lines are kept in the order in which they were printed, whatever their step", async () => {
  const runId = newId();
  const log = open(runId);
  for (let i = 0; i < 500; i++) {
    log.line(i % 2 === 0 ? "source" : "destination", "info", `line ${i}`);
    if (i % 100 === 0) await log.flush();
  }
  await log.close();
  const lines = await linesOf(runId);
  expect(lines.map(({ message }) => message)).toEqual(Array.from({ length: 500 }, (_, i) => `line ${i}`));
  expect(lines[1]).toMatchObject({ step: "destination", level: "info", offset: "0" });
  expect(lines[2]).toMatchObject({ step: "source", offset: String("line 0\n".length) });
});

test("lines are written while the step runs", async () => {
  const runId = newId();
  const log = open(runId);
  log.line("source", "warn", "soon to be seen");
  await until("it is written", async () => (await linesOf(runId)).length === 1);
  await log.close();
});

test("a later attempt goes on where the one before ended", async () => {
  const runId = newId();
  for (const attempt of [1, 2]) {
    const log = open(runId);
    log.line("source", "info", `attempt ${attempt}`);
    await log.close();
  }
  const lines = await linesOf(runId);
  expect(lines.map(({ offset }) => offset)).toEqual(["0", String("attempt 1\n".length)]);
});

test("of more than 10 MiB the middle is cut, and a line in its place says so", async () => {
  const runId = newId();
  const log = open(runId);
  const total = 14 * 1024;
  const text = (i: number): string => `${String(i).padStart(6, "0")} ${"x".repeat(1024 - 8)}`;
  for (let i = 0; i < total; i++) {
    log.line("command", "info", text(i));
    if (i % 700 === 0) await log.flush();
  }
  log.line("other", "info", "is not cut");
  await log.close();
  const lines = (await linesOf(runId)).filter(({ step }) => step === "command");
  const kept = lines.reduce((sum, { message }) => sum + Buffer.byteLength(message) + 1, 0);
  expect(kept).toBeLessThanOrEqual(10 * MIB + 1024);
  expect(kept).toBeGreaterThan(9.9 * MIB);
  const marks = lines.flatMap(({ message }, index) =>
    message.includes("the middle of this log was cut") ? [index] : [],
  );
  expect(marks).toHaveLength(1);
  const at = marks[0] ?? 0;
  // What stands before it is the beginning without a gap, what follows the end without a gap.
  expect(lines.slice(0, at).map(({ message }) => message)).toEqual(
    Array.from({ length: at }, (_, i) => text(i)),
  );
  const after = lines.slice(at + 1);
  expect(after.map(({ message }) => message)).toEqual(after.map((_, i) => text(total - after.length + i)));
  expect(lines[at]).toMatchObject({ level: "warn" });
});

test("attempts together keep no more than one alone, and one mark", async () => {
  const runId = newId();
  for (let attempt = 0; attempt < 3; attempt++) {
    const log = open(runId);
    for (let i = 0; i < 500; i++) log.line("command", "info", "y".repeat(16 * 1024));
    await log.close();
  }
  const lines = await linesOf(runId);
  expect(lines.reduce((sum, { message }) => sum + message.length + 1, 0)).toBeLessThanOrEqual(
    10 * MIB + 17 * 1024,
  );
  expect(lines.filter(({ message }) => message.includes("was cut"))).toHaveLength(1);
});

test("NUL, which PostgreSQL's text refuses, becomes a replacement character", async () => {
  const runId = newId();
  const log = open(runId);
  log.line("source", "info", "a\0b");
  log.line("source", "info", "and the line after it");
  await log.close();
  expect((await linesOf(runId)).map(({ message }) => message)).toEqual(["a\ufffdb", "and the line after it"]);
});

test("half of a surrogate pair, as a cut of a long line leaves it, costs nothing but itself", async () => {
  const runId = newId();
  const log = open(runId);
  log.line("source", "info", `${"x".repeat(16 * 1024 - 1)}😀😀`);
  await log.close();
  const [line] = await linesOf(runId);
  expect(line?.message).toBe(`${"x".repeat(16 * 1024 - 1)}\ufffd ...`);
});

test("a very long line is cut at its end", async () => {
  const runId = newId();
  const log = open(runId);
  log.line("source", "info", "z".repeat(MIB));
  await log.close();
  const [line] = await linesOf(runId);
  expect(line?.message).toBe(`${"z".repeat(16 * 1024)} ...`);
});

test("lines that cannot be written are no reason to fail, and later ones are", async () => {
  const runId = newId();
  let refuse = true;
  const log = new StepLog(
    runId,
    async (work) => {
      if (refuse) throw new Error("no");
      await write(work);
    },
    silent,
  );
  log.line("source", "info", "lost");
  await expect(log.flush()).resolves.toBeUndefined();
  refuse = false;
  log.line("source", "info", "kept");
  await log.close();
  expect((await linesOf(runId)).map(({ message, offset }) => [message, offset])).toEqual([["kept", "0"]]);
});
