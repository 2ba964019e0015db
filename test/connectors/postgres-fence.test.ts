import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Fence, FencedError, InDoubtError } from "../../src/connectors/connector.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import {
  configOf,
  connectTo,
  context,
  failure,
  listen,
  PEOPLE,
  postgres,
  rowsOf,
  stagePeople,
  tablesOf,
} from "./postgres-support.js";

let to: TestDatabase;
const jobId = randomUUID();

/** Runs count on from test to test, all of one job. */
let run = 0;
const fence = (attempt: number): Fence => ({ jobId, run, attempt });

beforeAll(async () => {
  to = await createDatabase({ empty: true });
});

afterAll(async () => {
  await to?.drop();
});

/** Begins a run over a table that holds what `name` says. */
async function begin(name: string): Promise<void> {
  run += 1;
  const writer = await stagePeople(to, fence(0), [[run, name]]);
  await writer.commit();
  await writer.close();
  run += 1;
}

async function people(): Promise<unknown[]> {
  return to.query("SELECT name FROM people ORDER BY id");
}

async function open(attempt: number, config = configOf(to)) {
  return postgres().destination.open(config, fence(attempt), context());
}

describe("a writer that was overtaken", () => {
  it("cannot open", async () => {
    await begin("before");
    const newer = await open(3);
    await failure(open(2), FencedError);
    await newer.close();
    run -= 1;
    await failure(open(9), FencedError);
    run += 1;
  });

  it("cannot begin to write, and leaves nothing behind", async () => {
    await begin("before");
    const old = await open(1);
    const newer = await open(2);
    await failure(
      old.write(PEOPLE, rowsOf([[[1, "old"]]]), () => {}),
      FencedError,
    );
    await Promise.all([old.close(), newer.close()]);
    expect(await tablesOf(to)).toEqual(["people"]);
  });

  it("cannot end what it began to write, and does not keep the newer one waiting", async () => {
    await begin("before");
    const old = await open(1);
    let newer = old;
    const data = rowsOf([[[1, "old"]], [[2, "old"]]], async (index) => {
      if (index === 0) newer = await open(2);
    });
    await failure(
      old.write(PEOPLE, data, () => {}),
      FencedError,
    );
    expect(await tablesOf(to)).toEqual(["people"]);
    await newer.write(PEOPLE, rowsOf([[[1, "newer"]]]), () => {});
    await newer.commit();
    await Promise.all([old.close(), newer.close()]);
    expect(await people()).toEqual([{ name: "newer" }]);
  });

  it("cannot commit what it wrote, which the newer one has removed", async () => {
    await begin("before");
    const old = await stagePeople(to, fence(1), [[1, "old"]]);
    const newer = await open(2);
    expect(await tablesOf(to)).toEqual(["people"]);
    await failure(old.commit(), FencedError);
    await Promise.all([old.close(), newer.close()]);
    expect(await people()).toEqual([{ name: "before" }]);
  });

  it("does not remove what the newer one wrote when it closes", async () => {
    await begin("before");
    const old = await stagePeople(to, fence(1), [[1, "old"]]);
    const newer = await stagePeople(to, fence(2), [[1, "newer"]]);
    await old.close();
    await newer.commit();
    await newer.close();
    expect(await people()).toEqual([{ name: "newer" }]);
  });

  it("of another job is no matter", async () => {
    await begin("before");
    const mine = await stagePeople(to, fence(1), [[1, "mine"]]);
    const other = await postgres().destination.open(
      configOf(to),
      { jobId: randomUUID(), run: 999, attempt: 9 },
      context(),
    );
    await mine.commit();
    await Promise.all([mine.close(), other.close()]);
    expect(await people()).toEqual([{ name: "mine" }]);
  });
});

describe("a run commits exactly once", () => {
  it("however often commit is called", async () => {
    await begin("before");
    const writer = await stagePeople(to, fence(1), [[1, "after"]]);
    expect(writer.committed).toBeNull();
    await writer.commit();
    await to.query("UPDATE people SET name = 'touched'");
    await writer.commit();
    await writer.close();
    expect(await people()).toEqual([{ name: "touched" }]);
    expect(await tablesOf(to)).toEqual(["people"]);
  });

  it("also where the attempt that committed died before it could say so", async () => {
    await begin("before");
    const dead = await stagePeople(to, fence(1), [
      [1, "a"],
      [2, "b"],
    ]);
    await dead.commit();
    const next = await open(2);
    expect(next.committed).toEqual(new Map([["people", { rows: 2, bytes: 20 }]]));
    await next.commit();
    await failure(
      next.write(PEOPLE, rowsOf([]), () => {}),
      Error,
    );
    await Promise.all([dead.close(), next.close()]);
    expect(await people()).toEqual([{ name: "a" }, { name: "b" }]);
  });

  it("also where the answer to the commit was lost with the connection", async () => {
    await begin("before");
    const proxy = await listen(forwardUntilCommitted());
    const writer = await open(1, configOf(to, { port: proxy.port }));
    await writer.write(PEOPLE, rowsOf([[[1, "after"]]]), () => {});
    await writer.commit();
    await writer.close();
    await proxy.close();
    expect(await people()).toEqual([{ name: "after" }]);
    expect(await tablesOf(to)).toEqual(["people"]);
  });

  it("which is in doubt while nobody can be asked, and found out by the next attempt", async () => {
    await begin("before");
    const proxy = await listen(forwardUntilCommitted(() => void proxy.close()));
    const writer = await open(1, configOf(to, { port: proxy.port }));
    await writer.write(PEOPLE, rowsOf([[[1, "after"]]]), () => {});
    await failure(writer.commit(), InDoubtError);
    await writer.close();
    const next = await open(2);
    expect(next.committed).toEqual(new Map([["people", { rows: 1, bytes: 10 }]]));
    await next.close();
    expect(await people()).toEqual([{ name: "after" }]);
    expect(await tablesOf(to)).toEqual(["people"]);
  });

  it("and a later run starts anew", async () => {
    await begin("before");
    const writer = await open(1);
    expect(writer.committed).toBeNull();
    await writer.close();
  });
});

describe("an attempt that died between writing and commit", () => {
  it("has changed nothing, and the next one removes what it wrote and starts over", async () => {
    await begin("before");
    const dead = await stagePeople(to, fence(1), [[1, "dead"]]);
    expect(await tablesOf(to)).toHaveLength(2);
    const next = await open(2);
    expect(next.committed).toBeNull();
    expect(await tablesOf(to)).toEqual(["people"]);
    await next.write(PEOPLE, rowsOf([[[1, "next"]]]), () => {});
    await next.commit();
    await Promise.all([dead.close(), next.close()]);
    expect(await people()).toEqual([{ name: "next" }]);
  });

  it("is tidied up by its own close also where it was cut off while its table was committed", async () => {
    await begin("before");
    let isCut = false;
    const cut = (): void => {
      isCut = true;
    };
    const proxy = await listen(forwardUntilCommitted(cut, "FOR SHARE"));
    const writer = await open(1, configOf(to, { port: proxy.port }));
    await expect(writer.write(PEOPLE, rowsOf([[[1, "cut off"]]]), () => {})).rejects.toThrow();
    expect(isCut).toBe(true);
    expect(await tablesOf(to)).toHaveLength(2);
    await writer.close();
    await proxy.close();
    expect(await tablesOf(to)).toEqual(["people"]);
    expect(await people()).toEqual([{ name: "before" }]);
  });

  it("is tidied up by its own close where it still can", async () => {
    await begin("before");
    const writer = await stagePeople(to, fence(1), [[1, "gone"]]);
    await writer.close();
    expect(await tablesOf(to)).toEqual(["people"]);
    expect(await people()).toEqual([{ name: "before" }]);
  });
});

/** Forwards to the server; the first connection is cut once the server has answered the COMMIT that follows a statement, of a commit() at first. */
function forwardUntilCommitted(onCut = () => {}, statement = "SET committed_run") {
  let committing = false;
  let cut = false;
  return (socket: import("node:net").Socket) => {
    const server = connectTo(to);
    socket.on("data", (chunk: Buffer) => {
      const text = chunk.toString("latin1");
      if (text.includes(statement)) committing = true;
      else if (committing && text.includes("COMMIT")) cut = true;
      server.write(chunk);
    });
    server.on("data", (chunk: Buffer) => {
      if (!cut) return socket.write(chunk);
      cut = false;
      committing = false;
      onCut();
      socket.destroy();
      return server.end();
    });
    server.on("close", () => socket.destroy());
    socket.on("close", () => server.destroy());
  };
}
