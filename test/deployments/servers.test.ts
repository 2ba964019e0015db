import { execFileSync } from "node:child_process";
import { FalkorDB } from "falkordb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createGraphEngine } from "../../src/engines/graph/engine.js";
import { createPostgresEngine } from "../../src/engines/postgres/engine.js";
import { query } from "../support/query.js";
import { until } from "../support/until.js";
import { type Database, type Databases, type Done, openDatabases } from "./installed.js";

const engines = [await createPostgresEngine(process.env["PATH"] ?? ""), await createGraphEngine()];

/** CI has to have it. */
function canRun(name: string): boolean {
  const engine = engines.find((one) => one.name === name);
  if (process.env["CI"] === "true" && engine?.missing !== null) throw new Error(engine?.missing ?? name);
  return engine?.missing === null;
}

let databases: Databases;

beforeAll(async () => {
  databases = await openDatabases();
}, 120_000);

afterAll(() => databases.close(), 120_000);

describe.skipIf(!canRun("postgres"))("databases that real servers serve", { timeout: 120_000 }, () => {
  let first: Database;

  beforeAll(async () => {
    await databases.offers("postgres");
    first = await databases.create("postgres", "first");
  }, 120_000);

  const count = (url: string) => query<{ n: number }>(url, "SELECT count(*)::int AS n FROM kept");

  test("are paused and resumed at the same address with the same data", async () => {
    await query(first.connectionUrl, "CREATE TABLE kept AS SELECT 1 AS x");
    expect((await databases.done("pause", first.id)).status).toBe("finished");
    await expect(count(first.connectionUrl)).rejects.toThrow();
    expect((await databases.done("resume", first.id)).status).toBe("finished");
    expect((await databases.done("restart", first.id)).status).toBe("finished");
    expect(await count(first.connectionUrl)).toEqual([{ n: 1 }]);
  });

  test("are copied, put back, and exchange their addresses with what opens them", async () => {
    const taken = await databases.done("snapshot", first.id);
    expect(taken.status).toBe("finished");
    const snapshots = await databases.gatehouse.call<readonly { id: string }[]>(
      "GET",
      `/databases/${first.id}/snapshots`,
    );
    expect((await databases.done("clone", first.id, { name: "second" })).status).toBe("finished");
    const copy = (await databases.list()).find(({ name }) => name === "second");
    const second = await databases.read(copy?.id ?? "");
    await query(first.connectionUrl, "INSERT INTO kept VALUES (2)");
    expect(await count(second.connectionUrl)).toEqual([{ n: 1 }]);
    expect((await databases.done("connection-url", first.id, { databaseId: second.id })).status).toBe(
      "finished",
    );
    expect(await count(first.connectionUrl)).toEqual([{ n: 1 }]);
    expect(await count(second.connectionUrl)).toEqual([{ n: 2 }]);
    const snapshotId = snapshots.body[0]?.id;
    expect((await databases.done("restore", first.id, { snapshotId })).status).toBe("finished");
    expect(await count(second.connectionUrl)).toEqual([{ n: 1 }]);
    first = await databases.read(first.id);
  });

  test("are reached and taken away by PostgreSQL's own tools", async () => {
    const exported = await databases.done("export", first.id);
    const archive = await databases.download(`/databases/${first.id}/exports/${exported.exportId}/download`);
    const run = (tool: string, args: readonly string[], input?: Buffer) =>
      execFileSync(tool, args, { encoding: "utf8", ...(input === undefined ? {} : { input }) });
    expect(run("pg_restore", ["--list"], archive)).toContain("TABLE DATA public kept");
    expect(run("psql", [first.connectionUrl, "-Atc", "SELECT count(*) FROM kept"])).toBe("1\n");
  });

  test("are cloned into another region, by an archive that goes there", async () => {
    const cloned = await databases.done("clone", first.id, { name: "elsewhere", region: "there" });
    expect(cloned.error).toBeNull();
    expect(cloned.steps.map(({ name }) => name)).toEqual(["store", "provision", "copy", "start"]);
    const elsewhere = await databases.read(cloned.databaseId ?? "");
    expect(elsewhere).toMatchObject({ region: "there", status: { state: "running" } });
    expect(await count(elsewhere.connectionUrl)).toEqual(await count(first.connectionUrl));
  });

  test("keep their data where an archive is bad, and the step says why", async () => {
    const sent = await databases.importFile(first.id, Buffer.from("\\! id"));
    expect(sent.status).toBe("failed");
    expect(sent.steps.at(-1)?.message).toMatch(/archive cannot be loaded/);
    expect(await count(first.connectionUrl)).toEqual([{ n: 1 }]);
  });

  test("take another plan and another password", async () => {
    expect((await databases.done("plan/change", first.id, { targetPlanName: "ds2" })).status).toBe(
      "finished",
    );
    const former = first.connectionUrl;
    expect((await databases.done("connection-url", first.id, { rotatePassword: true })).status).toBe(
      "finished",
    );
    await expect(count(former)).rejects.toThrow(/password/);
    first = await databases.read(first.id);
    expect(await count(first.connectionUrl)).toEqual([{ n: 1 }]);
  });

  test("are started again when their server is killed, with all that was acknowledged", async () => {
    await query(first.connectionUrl, "INSERT INTO kept VALUES (3)");
    process.kill((await databases.serverOf(first.id)) ?? 0, "SIGKILL");
    await until("it serves again", async () => {
      const found = await count(first.connectionUrl).catch(() => null);
      return found?.[0]?.n === 2 || null;
    });
    await until("it is said to be well", async () => {
      const { status: now } = await databases.read(first.id);
      return (now.state === "running" && !now.underIncident) || null;
    });
  });

  test("are started again, as an incident, when their processes take far more memory than the plan has", async () => {
    const greedy = await databases.create("postgres", "greedy");
    const sessions = Array.from({ length: 3 }, () =>
      query(
        greedy.connectionUrl,
        "SELECT length(x), pg_sleep(60) FROM (SELECT repeat('x', 450000000) AS x OFFSET 0) AS large",
      ),
    );
    const ended = await Promise.allSettled(sessions);
    expect(ended.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    const recovered = await until("it is recovered", async () => {
      const { body } = await databases.gatehouse.call<Done[]>("GET", `/databases/${greedy.id}/operations`);
      return body.find(
        ({ operationType, status }) => operationType === "deployment.recover" && status === "finished",
      );
    });
    expect(recovered.steps.map(({ name }) => name)).toContain("stop");
    expect(await query(greedy.connectionUrl, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
  });
});

describe.skipIf(!canRun("graphneo"))("graphs that real servers serve", { timeout: 120_000 }, () => {
  let first: Database;
  let second: Database;

  beforeAll(async () => {
    await databases.offers("graphneo");
    first = await databases.create("graphneo", "graph");
  }, 120_000);

  /** Through the official client, as the connection URL says. */
  async function cypher(url: string, ...queries: readonly string[]): Promise<unknown[]> {
    const client = await FalkorDB.connect({ url });
    client.on("error", () => {});
    try {
      const graph = client.selectGraph("people");
      const answers = [];
      for (const text of queries) answers.push((await graph.query(text)).data);
      return answers;
    } finally {
      await client.close();
    }
  }

  const shapeOf = (url: string) =>
    cypher(
      url,
      "MATCH (p:Person) RETURN count(p) AS n, sum(p.id) AS s",
      "MATCH (:Person)-[k:KNOWS]->(:Person) RETURN count(k) AS n, sum(k.since) AS s",
      "CALL db.indexes() YIELD label, properties RETURN label, properties",
      "MATCH (r:Random) RETURN r.r, r.u",
    );

  /** Makes another graph of it, whose nodes have other ids. */
  const change = (url: string) => cypher(url, "MATCH (p:Person) SET p.id = p.id + 1");

  test("keep nodes, edges, indexes and random values over pause and resume, at the same address", async () => {
    await cypher(
      first.connectionUrl,
      "UNWIND range(1, 200) AS i CREATE (:Person {id: i, name: 'p' + i})",
      "MATCH (a:Person), (b:Person) WHERE b.id = a.id + 1 CREATE (a)-[:KNOWS {since: a.id}]->(b)",
      "CREATE INDEX FOR (p:Person) ON (p.id)",
      "CREATE (:Random {r: rand(), u: randomUUID()})",
    );
    const before = await shapeOf(first.connectionUrl);
    expect(before.slice(0, 2)).toEqual([[{ n: 200, s: 20_100 }], [{ n: 199, s: 19_900 }]]);
    expect(before[2]).toHaveLength(1);
    expect((await databases.done("pause", first.id)).status).toBe("finished");
    await expect(shapeOf(first.connectionUrl)).rejects.toThrow();
    expect((await databases.done("resume", first.id)).status).toBe("finished");
    expect(await shapeOf(first.connectionUrl)).toEqual(before);
  });

  test("are cloned, put back from a snapshot, and exchange their connection URLs", async () => {
    const before = await shapeOf(first.connectionUrl);
    const taken = await databases.done("snapshot", first.id);
    expect(taken.status).toBe("finished");
    const cloned = await databases.done("clone", first.id, { name: "graph-2" });
    expect(cloned.status).toBe("finished");
    second = await databases.read(cloned.databaseId ?? "");
    expect(await shapeOf(second.connectionUrl)).toEqual(before);
    await change(first.connectionUrl);
    const changed = await shapeOf(first.connectionUrl);
    expect(changed).not.toEqual(before);
    expect(await shapeOf(second.connectionUrl)).toEqual(before);
    const exchanged = await databases.done("connection-url", first.id, { databaseId: second.id });
    expect(exchanged.status).toBe("finished");
    expect(await shapeOf(first.connectionUrl)).toEqual(before);
    expect(await shapeOf(second.connectionUrl)).toEqual(changed);
    const restored = await databases.done("restore", first.id, { snapshotId: taken.snapshotId });
    expect(restored.status).toBe("finished");
    first = await databases.read(first.id);
    second = await databases.read(second.id);
    expect(await shapeOf(first.connectionUrl)).toEqual(before);
  });

  test("take the archive of another one, and stay as they are where it is none", async () => {
    const before = await shapeOf(first.connectionUrl);
    const exported = await databases.done("export", first.id);
    expect(exported.status).toBe("finished");
    const archive = await databases.download(`/databases/${first.id}/exports/${exported.exportId}/download`);
    await change(second.connectionUrl);
    const refused = await databases.importFile(second.id, archive.subarray(0, archive.length / 2));
    expect(refused.status).toBe("failed");
    expect(refused.error).toMatch(/archive cannot be loaded/);
    expect(await shapeOf(second.connectionUrl)).not.toEqual(before);
    expect((await databases.importFile(second.id, archive)).status).toBe("finished");
    expect(await shapeOf(second.connectionUrl)).toEqual(before);
  });

  test("are terminated with a last snapshot, and nothing of them is left", async () => {
    const ended = await databases.done("terminate", second.id);
    expect(ended.status).toBe("finished");
    await expect(shapeOf(second.connectionUrl)).rejects.toThrow();
    const snapshots = await databases.gatehouse.call<readonly { kind: string; state: string }[]>(
      "GET",
      `/databases/${second.id}/snapshots`,
    );
    expect(snapshots.body).toMatchObject([{ kind: "final", state: "available" }]);
    expect(await databases.strays()).toEqual([]);
  });
});
