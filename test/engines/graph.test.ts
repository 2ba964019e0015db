import { readdir, readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { FalkorDB, type Graph } from "falkordb";
import { Redis } from "ioredis";
import { afterEach, expect, test, vi } from "vitest";
import type { Instance } from "../../src/engines/engine.js";
import { createGraphEngine } from "../../src/engines/graph/engine.js";
import { until } from "../support/until.js";
import {
  context,
  createDeployment,
  createRegion,
  describeEngine,
  freePort,
  MIB,
  NEVER,
  secret,
  type TestDeployment,
} from "./support.js";

// Many servers, one after the other, on a machine that has more to do.
vi.setConfig({ testTimeout: 180_000 });

const region = await createRegion();
const engine = await createGraphEngine();
const open = new Set<{ close(): Promise<unknown> }>();

afterEach(async () => {
  for (const client of open) await client.close().catch(() => {});
  open.clear();
});

/** A deployment that serves. */
async function serving(): Promise<TestDeployment> {
  const deployment = await createDeployment(region, engine);
  const instance = await deployment.next();
  await engine.provision(instance, context);
  await engine.start(instance, context);
  return deployment;
}

/** Through the official client, as the connection URL says. */
async function graphOf(deployment: TestDeployment, name = "g"): Promise<Graph> {
  const { host, port } = deployment.look().place;
  const client = await FalkorDB.connect({ url: engine.connectionUrl(host, port, deployment.credentials) });
  client.on("error", () => {});
  open.add(client);
  return client.selectGraph(name);
}

/** Through ioredis. */
async function redisOf(
  deployment: TestDeployment,
  password = deployment.credentials.password,
): Promise<Redis> {
  const { host, port } = deployment.look().place;
  const client = new Redis({
    host,
    port,
    username: "customer",
    password,
    lazyConnect: true,
    retryStrategy: () => null,
  });
  client.on("error", () => {});
  open.add({ close: async () => client.disconnect() });
  await client.connect();
  return client;
}

async function fill(deployment: TestDeployment): Promise<void> {
  const graph = await graphOf(deployment);
  await graph.query("UNWIND range(1, 1000) AS i CREATE (:Person {id: i, name: 'p' + i})");
  await graph.query(
    "MATCH (a:Person), (b:Person) WHERE b.id = a.id + 1 CREATE (a)-[:KNOWS {since: a.id}]->(b)",
  );
  await graph.query("CREATE INDEX FOR (p:Person) ON (p.id)");
  await graph.query("CREATE (:Random {r: rand(), t: timestamp(), u: randomUUID()})");
}

interface Shape {
  readonly nodes: unknown;
  readonly edges: unknown;
  readonly indexes: unknown;
  readonly random: unknown;
}

/** Nodes, edges, indexes, and values that running a query again would make anew. */
async function shapeOf(deployment: TestDeployment): Promise<Shape> {
  const graph = await graphOf(deployment);
  const rows = async (query: string) => (await graph.roQuery(query)).data;
  return {
    nodes: await rows("MATCH (p:Person) RETURN count(p) AS n, sum(p.id) AS s"),
    edges: await rows("MATCH (:Person)-[k:KNOWS]->(:Person) RETURN count(k) AS n, sum(k.since) AS s"),
    indexes: await rows("CALL db.indexes() YIELD label, properties, status RETURN label, properties, status"),
    random: await rows("MATCH (r:Random) RETURN r.r, r.t, r.u"),
  };
}

/** The process whose command line, or the title that it has given itself, has this in it. */
async function processWith(part: string): Promise<number | null> {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (line.includes(part)) return Number(pid);
  }
  return null;
}

const WHOLE = { nodes: [{ n: 1000, s: 500_500 }], edges: [{ n: 999, s: 499_500 }] };

async function kill(instance: Instance): Promise<void> {
  const status = await instance.place.status();
  if (status.state === "stopped") throw new Error("no server runs");
  process.kill(status.pid, "SIGKILL");
  await until("the server is gone", async () => (await instance.place.status()).state === "stopped");
}

describeEngine(engine, () => {
  test("what was written survives pause and resume, with indexes and values that were made at random", async () => {
    const deployment = await serving();
    await fill(deployment);
    const before = await shapeOf(deployment);
    expect(before).toMatchObject(WHOLE);
    expect(before.indexes).toHaveLength(1);
    const pausing = await deployment.next();
    await engine.stop(pausing, context);
    await engine.stop(pausing, context);
    expect(await engine.health(deployment.look(), NEVER)).toEqual({ status: "stopped", detail: null });
    const resuming = await deployment.next();
    await engine.start(resuming, context);
    await engine.start(resuming, context);
    expect(await engine.health(deployment.look(), NEVER)).toEqual({ status: "healthy", detail: null });
    expect(await shapeOf(deployment)).toEqual(before);
    await engine.destroy(resuming, context);
    await engine.destroy(await deployment.next(), context);
    expect(await region.substrate.list(NEVER)).not.toContain(deployment.spec.id);
  });

  test("pause writes the data anew only where its log is long, and loses nothing, killed in its midst or not", async () => {
    const deployment = await serving();
    const graph = await graphOf(deployment);
    const pausing = await deployment.next();
    /** What a rewriting counts up. */
    const logs = async () =>
      (await pausing.place.volume.list("current/appendonlydir", NEVER)).filter((name) =>
        name.endsWith(".rdb"),
      );
    const first = await logs();
    await graph.query(
      "UNWIND range(1, 20000) AS i CREATE (:Node {id: i, text: 'the text of ' + toString(i)})",
    );
    await engine.stop(pausing, context);
    expect(await logs()).toEqual(first);
    await engine.start(pausing, context);
    const again = await graphOf(deployment);
    await Promise.all(Array.from({ length: 1_200 }, () => again.query("CREATE (:Node)")));
    await Promise.allSettled([engine.stop(pausing, context), kill(pausing)]);
    await engine.start(pausing, context);
    await engine.stop(pausing, context);
    expect(await logs()).not.toEqual(first);
    await engine.start(pausing, context);
    const after = await graphOf(deployment);
    const { data } = await after.roQuery("MATCH (n:Node) RETURN count(n) AS n");
    expect(data).toEqual([{ n: 21_200 }]);
  });

  test("kill -9 of the server under load loses no acknowledged write and keeps none by half", async () => {
    const deployment = await serving();
    const graph = await graphOf(deployment);
    await graph.query("CREATE (:Counter {n: 0})");
    const instance = await deployment.next();
    let acknowledged = 0;
    // Each write keeps an invariant: as many events as the counter says, each with its two edges.
    const writer = (async () => {
      for (;;) {
        await graph.query(
          "MATCH (c:Counter) SET c.n = c.n + 1 CREATE (c)-[:HAD]->(e:Event {n: c.n, r: rand()}), (e)-[:OF]->(c)",
        );
        acknowledged += 1;
      }
    })().catch(() => {});
    await until("some were acknowledged", () => acknowledged > 200);
    await kill(instance);
    await writer;
    await engine.start(instance, context);
    const after = await graphOf(deployment);
    const { data } = await after.roQuery<{ n: number; events: number; edges: number }>(
      "MATCH (c:Counter) OPTIONAL MATCH (c)-[:HAD]->(e:Event)-[:OF]->(c) RETURN c.n AS n, count(e) AS events, max(e.n) AS edges",
    );
    const found = data?.[0];
    expect(found?.n).toBeGreaterThanOrEqual(acknowledged);
    expect(found?.n).toBeLessThanOrEqual(acknowledged + 1);
    expect(found).toEqual({ n: found?.n, events: found?.n, edges: found?.n });
  });

  test("a snapshot of a server under write load is of one moment, and restores into another deployment", async () => {
    const deployment = await serving();
    const graph = await graphOf(deployment);
    await graph.query("CREATE INDEX FOR (e:Entry) ON (e.id)");
    await graph.query("CREATE (:Account {id: 1, amount: 100000}), (:Account {id: 2, amount: 0})");
    let stop = false;
    let written = 0;
    const writer = (async () => {
      while (!stop) {
        await graph.query(
          "MATCH (a:Account {id: 1}), (b:Account {id: 2}) SET a.amount = a.amount - 1, b.amount = b.amount + 1 CREATE (:Entry {id: b.amount})",
        );
        written += 1;
      }
    })();
    await until("it writes", () => written > 50);
    const before = written;
    const archive = await buffer(await engine.snapshot(await deployment.next(), context));
    const during = written;
    await until("it goes on writing", () => written > during + 50);
    stop = true;
    await writer;

    const copy = await createDeployment(region, engine);
    const instance = await copy.next();
    await engine.provision(instance, context);
    await engine.restore(instance, Readable.from([archive]), context);
    await engine.restore(instance, Readable.from([archive]), context);
    expect((await instance.place.status()).state).toBe("stopped");
    await engine.start(instance, context);
    const copied = await graphOf(copy);
    const { data } = await copied.roQuery<{ total: number; moved: number; entries: number }>(
      "MATCH (a:Account {id: 1}), (b:Account {id: 2}) OPTIONAL MATCH (e:Entry) RETURN a.amount + b.amount AS total, b.amount AS moved, count(e) AS entries",
    );
    const moved = data?.[0]?.moved ?? -1;
    expect(data).toEqual([{ total: 100_000, moved, entries: moved }]);
    expect(moved).toBeGreaterThanOrEqual(before);
    expect(moved).toBeLessThanOrEqual(during + 1);
    // What is written into a restored copy is kept as in any other.
    await copied.query("CREATE (:After)");
    await kill(instance);
    await engine.start(instance, context);
    const again = await (await graphOf(copy)).roQuery("MATCH (n:After) RETURN count(n) AS n");
    expect(again.data).toEqual([{ n: 1 }]);
  });

  test("a stopped deployment is copied too, and stays stopped", async () => {
    const deployment = await serving();
    await fill(deployment);
    const before = await shapeOf(deployment);
    await engine.stop(await deployment.next(), context);
    const archive = await buffer(await engine.export(await deployment.next(), context));
    expect((await deployment.look().place.status()).state).toBe("stopped");
    const target = await serving();
    const instance = await target.next();
    await engine.import(instance, Readable.from([archive]), context);
    await engine.start(instance, context);
    expect(await shapeOf(target)).toEqual(before);
  });

  test("a truncated, foreign, damaged or oversized archive changes nothing, and says what is wrong with it", async () => {
    const source = await serving();
    await fill(source);
    const whole = await buffer(await engine.snapshot(await source.next(), context));
    const deployment = await serving();
    await (await redisOf(deployment)).set("kept", "as it was");
    const damaged = Buffer.from(whole);
    damaged[Math.floor(whole.length / 2)] = (damaged[Math.floor(whole.length / 2)] ?? 0) ^ 0xff;
    const broken = new Readable({
      read() {
        this.push(whole.subarray(0, 500));
        this.destroy(new Error("the upload broke"));
      },
    });
    const bad: [string, Readable, RegExp | string][] = [
      ["truncated", Readable.from([whole.subarray(0, whole.length - 200)]), "bad_archive"],
      ["truncated early", Readable.from([whole.subarray(0, 20)]), "bad_archive"],
      ["empty", Readable.from([]), "bad_archive"],
      ["of nothing", Readable.from([Buffer.from("REDIS0011")]), "bad_archive"],
      ["foreign", Readable.from([Buffer.from("PGDMP this is a dump of something else")]), "bad_archive"],
      ["text", Readable.from([Buffer.from("CREATE TABLE t (i int);\n".repeat(100))]), "bad_archive"],
      ["damaged", Readable.from([damaged]), "bad_archive"],
      [
        "of another format version",
        Readable.from([Buffer.from("REDIS0099"), whole.subarray(9)]),
        "bad_archive",
      ],
      ["broken off", broken, /the upload broke/],
    ];
    for (const [name, archive, fault] of bad) {
      const instance = await deployment.next();
      const importing = engine.import(instance, archive, context);
      if (typeof fault === "string") await expect(importing).rejects.toMatchObject({ code: fault });
      else await expect(importing).rejects.toThrow(fault);
      expect((await instance.place.status()).state, name).toBe("running");
    }
    const small = await deployment.next({ limits: { memoryBytes: 256 * MIB, storageBytes: 10_000 } });
    await expect(engine.import(small, Readable.from([whole]), context)).rejects.toMatchObject({
      code: "too_large",
    });
    expect(await (await redisOf(deployment)).get("kept")).toBe("as it was");
    const left = await small.place.volume.list(".", NEVER);
    expect([...left].sort()).toEqual(["conf", "current", "data-1-1-new", "import", "temp"]);
  });

  test("commands behind the end of an archive are not run", async () => {
    const source = await serving();
    await (await redisOf(source)).set("from", "archive");
    const whole = await buffer(await engine.snapshot(await source.next(), context));
    const behind = Buffer.from("*3\r\n$3\r\nSET\r\n$4\r\nevil\r\n$1\r\n1\r\n");
    const deployment = await serving();
    const instance = await deployment.next();
    await engine.import(instance, Readable.from([whole, behind]), context);
    await engine.start(instance, context);
    expect(await (await redisOf(deployment)).keys("*")).toEqual(["from"]);
  });

  test("a server that stands still while it loads an archive is ended, and the old data is served on", async () => {
    const deployment = await serving();
    await (await redisOf(deployment)).set("kept", "as it was");
    // Enough that it is still being loaded when the server is found.
    const graph = await graphOf(deployment);
    for (let part = 0; part < 10; part += 1)
      await graph.query("UNWIND range(1, 20000) AS i CREATE (:Person {id: i})");
    const archive = await engine.snapshot(await deployment.next(), context);
    const instance = await deployment.next();
    const importing = engine.import(instance, archive, context);
    importing.catch(() => {});
    const pid = await until("it is there", () =>
      processWith(`server unixsocket:${instance.place.socketFolder}/t-`),
    );
    process.kill(pid, "SIGSTOP");
    await expect(importing).rejects.toMatchObject({ code: "unavailable" });
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect(await (await redisOf(deployment)).get("kept")).toBe("as it was");
  });

  test("an archive whose data is past the plan's memory is refused before the old data is touched", async () => {
    const source = await createDeployment(region, engine, {
      memoryBytes: 1024 * MIB,
      storageBytes: 4096 * MIB,
    });
    const first = await source.next();
    await engine.provision(first, context);
    await engine.start(first, context);
    // Compresses to little, and is 200 MB in memory.
    const graph = await graphOf(source);
    for (let from = 0; from < 400; from += 25) {
      await graph.query(
        `UNWIND range(${from}, ${from + 24}) AS i CREATE (:Big {text: reduce(s = '-' + i, j IN range(1, 18) | s + s)})`,
      );
    }
    const archive = await engine.snapshot(await source.next(), context);
    const deployment = await serving();
    const instance = await deployment.next();
    await (await redisOf(deployment)).set("kept", "as it was");
    await expect(engine.import(instance, archive, context)).rejects.toMatchObject({ code: "too_large" });
    expect(await (await redisOf(deployment)).get("kept")).toBe("as it was");
    await engine.destroy(await source.next(), context);
  });

  test("a changed password is the only one, at once and after a restart", async () => {
    const deployment = await serving();
    const old = deployment.credentials.password;
    const session = await redisOf(deployment);
    const ended = new Promise((resolve) => session.once("close", resolve));
    const rotating = await deployment.next({
      credentials: { ...deployment.credentials, password: secret() },
    });
    await engine.changeCredentials(rotating, context);
    await engine.changeCredentials(rotating, context);
    await ended;
    await expect(redisOf(deployment, old)).rejects.toThrow();
    expect(await (await redisOf(deployment)).ping()).toBe("PONG");
    await engine.stop(await deployment.next(), context);
    await engine.changeCredentials(
      await deployment.next({ credentials: { ...deployment.credentials, password: secret() } }),
      context,
    );
    await engine.start(await deployment.next(), context);
    await expect(redisOf(deployment, old)).rejects.toThrow();
    expect(await (await redisOf(deployment)).ping()).toBe("PONG");
  });

  test("a new port is served after the next start, and a port of somebody else's is port_taken", async () => {
    const deployment = await serving();
    await (await redisOf(deployment)).set("kept", "as it was");
    // As after a switch whose restart was cut off: it runs on its old port.
    const moved = await deployment.next({ port: await freePort() });
    await engine.start(moved, context);
    expect(await (await redisOf(deployment)).get("kept")).toBe("as it was");
    const other = await serving();
    await engine.stop(await deployment.next(), context);
    const clash = await deployment.next({ port: other.spec.port });
    await expect(engine.start(clash, context)).rejects.toMatchObject({ code: "port_taken" });
    expect((await clash.place.status()).state).toBe("stopped");
    expect(await engine.health(other.look(), NEVER)).toMatchObject({ status: "healthy" });
  });

  test("the plan's memory and connections are kept, and a resize takes effect", async () => {
    const deployment = await createDeployment(region, engine, {
      memoryBytes: 64 * MIB,
      storageBytes: 512 * MIB,
    });
    const first = await deployment.next({ plan: { connections: 4 } });
    await engine.provision(first, context);
    await engine.start(first, context);
    const graph = await graphOf(deployment);
    const grow = async () => {
      for (let i = 0; i < 200; i++)
        await graph.query("UNWIND range(1, 10000) AS i CREATE (:N {a: i, b: 'some text'})");
    };
    await expect(grow()).rejects.toThrow(/OOM|exceeded capacity|maxmemory/);
    expect((await deployment.look().place.status()).state).toBe("running");
    const usage = await engine.inspect(deployment.look(), NEVER);
    expect(usage.storageBytes).toBeGreaterThan(MIB);
    expect(usage.connections).toBeGreaterThanOrEqual(1);
    const grown = { memoryBytes: 256 * MIB, storageBytes: 512 * MIB };
    expect(await engine.resize(await deployment.next({ limits: grown }), context)).toEqual({
      needsRestart: true,
    });
    await graph.query("CREATE (:More)");
    const shrunk = await deployment.next({ limits: { memoryBytes: 16 * MIB, storageBytes: 512 * MIB } });
    await expect(engine.resize(shrunk, context)).rejects.toMatchObject({ code: "too_large" });
    const tooSmall = await deployment.next({ limits: { memoryBytes: 256 * MIB, storageBytes: MIB } });
    await expect(engine.resize(tooSmall, context)).rejects.toMatchObject({ code: "too_large" });
  });

  test("past its storage limit a deployment is for reading, then closed, also after a restart, and can be opened again", async () => {
    const deployment = await serving();
    await fill(deployment);
    await engine.holdStorage(await deployment.next(), "read_only", context);
    await engine.stop(await deployment.next(), context);
    await engine.start(await deployment.next(), context);
    expect(await shapeOf(deployment)).toMatchObject(WHOLE);
    await expect((await graphOf(deployment)).query("CREATE (:More)")).rejects.toThrow(/permissions/);
    await expect((await redisOf(deployment)).set("more", "1")).rejects.toThrow(/permissions/);
    await engine.holdStorage(await deployment.next(), "closed", context);
    await expect(redisOf(deployment)).rejects.toThrow();
    await engine.holdStorage(await deployment.next(), "none", context);
    await (await graphOf(deployment)).query("CREATE (:More)");
  });
});
