import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { FalkorDB } from "falkordb";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createGraphEngine } from "../../src/engines/graph/engine.js";
import {
  context,
  createDeployment,
  createRegion,
  describeEngine,
  NEVER,
  type TestDeployment,
} from "./support.js";

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

const region = await createRegion();
const engine = await createGraphEngine();

/** What a customer must not be let do: each is refused by name, whatever its arguments. */
const REFUSED: readonly string[] = [
  "CONFIG SET dir /tmp",
  "CONFIG SET dbfilename evil.so",
  "CONFIG SET aclfile /tmp/x",
  "CONFIG GET *",
  "CONFIG REWRITE",
  "CONFIG RESETSTAT",
  "MODULE LOAD /tmp/evil.so",
  "MODULE LOADEX /tmp/evil.so",
  "MODULE UNLOAD graph",
  "MODULE LIST",
  "DEBUG SLEEP 1",
  "DEBUG SEGFAULT",
  "DEBUG JMAP",
  "EVAL return(1) 0",
  "EVAL_RO return(1) 0",
  "EVALSHA 0000000000000000000000000000000000000000 0",
  "SCRIPT LOAD return(1)",
  "SCRIPT FLUSH",
  "FUNCTION LOAD #!lua",
  "FUNCTION RESTORE x",
  "FUNCTION LIST",
  "FCALL f 0",
  "SAVE",
  "BGSAVE",
  "BGREWRITEAOF",
  "SHUTDOWN NOSAVE",
  "REPLICAOF 127.0.0.1 1",
  "SLAVEOF 127.0.0.1 1",
  "FAILOVER",
  "PSYNC ? -1",
  "SYNC",
  "MIGRATE 127.0.0.1 1 k 0 100",
  "RESTORE k 0 x",
  "CLUSTER RESET",
  "MONITOR",
  "ACL LIST",
  "ACL GETUSER gatehouse",
  "ACL SETUSER customer +@all",
  "ACL LOAD",
  "ACL SAVE",
  "CLIENT LIST",
  "CLIENT KILL TYPE normal",
  "CLIENT PAUSE 100000",
  "CLIENT NO-EVICT on",
  "LATENCY RESET",
  "SLOWLOG RESET",
  "SWAPDB 0 1",
  "GRAPH.CONFIG SET QUERY_MEM_CAPACITY 0",
  "GRAPH.CONFIG SET IMPORT_FOLDER /",
  "GRAPH.DEBUG AUX START",
  "GRAPH.RESTORE g x",
  "GRAPH.EFFECT g x",
  "GRAPH.UDF LOAD lib code",
  "GRAPH.PASSWORD ADD x",
];

describeEngine(engine, () => {
  let deployment: TestDeployment;
  let client: Redis;

  beforeAll(async () => {
    deployment = await createDeployment(region, engine);
    const instance = await deployment.next();
    await engine.provision(instance, context);
    await engine.start(instance, context);
    client = connected(deployment.credentials.username, deployment.credentials.password);
    await client.connect();
  });
  afterAll(() => client.disconnect());

  function connected(username: string, password: string): Redis {
    const { host, port } = deployment.look().place;
    const made = new Redis({ host, port, username, password, lazyConnect: true, retryStrategy: () => null });
    made.on("error", () => {});
    return made;
  }

  test.each(REFUSED)("a customer may not %s", async (line) => {
    const [command = "", ...args] = line.split(" ");
    await expect(client.call(command, ...args)).rejects.toThrow(/NOPERM|command not allowed/);
  });

  test("nobody gets in without a name, as the default user, or as Gatehouse with the customer's password", async () => {
    const { password } = deployment.credentials;
    for (const [username, secret] of [
      ["default", ""],
      ["default", password],
      ["gatehouse", password],
      ["customer", "x"],
    ]) {
      const stranger = connected(username ?? "", secret ?? "");
      await expect(stranger.connect().then(() => stranger.get("x"))).rejects.toThrow();
      stranger.disconnect();
    }
    const { host, port } = deployment.look().place;
    const nameless = new Redis({ host, port, lazyConnect: true, retryStrategy: () => null });
    nameless.on("error", () => {});
    await expect(nameless.connect().then(() => nameless.get("x"))).rejects.toThrow();
    nameless.disconnect();
  });

  test("a customer can work with keys, transactions and graphs", async () => {
    await client.set("k", "v");
    expect(await client.multi().get("k").hset("h", "f", "1").exec()).toEqual([
      [null, "v"],
      [null, 1],
    ]);
    expect((await client.keys("*")).sort()).toEqual(["h", "k"]);
    expect(await client.info("server")).toContain("redis_version");
    for (const line of [
      "GRAPH.QUERY g CREATE(:A{x:1})",
      "GRAPH.RO_QUERY g MATCH(n)RETURN(n.x)",
      "GRAPH.EXPLAIN g MATCH(n)RETURN(n)",
      "GRAPH.PROFILE g MATCH(n)RETURN(n)",
      "GRAPH.COPY g h2",
      "GRAPH.LIST",
      "GRAPH.SLOWLOG g",
      "GRAPH.MEMORY USAGE g",
      "GRAPH.CONFIG GET TIMEOUT",
      "GRAPH.DELETE h2",
      "FLUSHALL",
    ]) {
      const [command = "", ...args] = line.split(" ");
      await client.call(command, ...args);
    }
    const { host, port } = deployment.look().place;
    const url = engine.connectionUrl(host, port, deployment.credentials);
    const official = await FalkorDB.connect({ url });
    expect((await official.selectGraph("g").query("RETURN 1 AS one")).data).toEqual([{ one: 1 }]);
    await official.close();
  });

  test("LOAD CSV reads no file of the machine, of the control plane or of the server", async () => {
    const secret = join(region.root, "control-plane-secret");
    await writeFile(secret, "of,the,control,plane\n", { mode: 0o644 });
    const instance = await deployment.next();
    const own = instance.place.volume.path("conf/users.acl");
    const targets = [
      secret,
      own,
      "/etc/passwd",
      "../conf/users.acl",
      "../../../../../../etc/passwd",
      "/proc/self/environ",
    ];
    await instance.place.run(
      {
        program: "/bin/ln",
        args: ["-sf", "/etc/passwd", instance.place.volume.path("import/link")],
        env: {},
        timeoutMs: 5_000,
      },
      NEVER,
    );
    for (const target of [...targets, "link"]) {
      for (const prefix of ["file://", "file:///", ""]) {
        const query = `LOAD CSV FROM '${prefix}${target}' AS row RETURN row LIMIT 1`;
        await expect(client.call("GRAPH.QUERY", "g", query), target).rejects.toThrow(
          /Error opening CSV|Unsupported URI/,
        );
      }
    }
  });

  test("LOAD CSV sends no request to any address and gets nothing from it", async () => {
    const received: Buffer[] = [];
    const listener = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk) => received.push(chunk));
      setTimeout(() => socket.destroy(), 300);
    });
    const port = await new Promise<number>((resolve) => {
      listener.listen(0, "127.0.0.1", () => {
        const address = listener.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
    try {
      for (const scheme of ["https", "http", "ftp", "HTTPS"]) {
        const query = `LOAD CSV FROM '${scheme}://127.0.0.1:${port}/x.csv' AS row RETURN row LIMIT 1`;
        await client.call("GRAPH.QUERY", "g", query).catch(() => {});
      }
      // RFC 8446, 5.1: a handshake record has type 22. An alert (21) of seven bytes is all that may be there.
      expect(received.filter((chunk) => chunk[0] !== 21 || chunk.length > 7)).toEqual([]);
    } finally {
      listener.close();
    }
  });

  test("a runaway query is stopped by the plan's memory and the server goes on", async () => {
    const query = "UNWIND range(1, 100000000) AS i WITH collect(toString(i)) AS all RETURN size(all)";
    await expect(client.call("GRAPH.QUERY", "g", query)).rejects.toThrow(/exceeded capacity/);
    expect(await engine.health(deployment.look(), NEVER)).toMatchObject({ status: "healthy" });
  });

  test("no secret is on a command line, in the log, or in a file that the server keeps", async () => {
    const { password, adminSecret } = deployment.credentials;
    const instance = await deployment.next();
    const { stdout } = await instance.place.run(
      {
        program: "/bin/sh",
        args: [
          "-c",
          "cat conf/*; for p in /proc/[0-9]*; do [ ! -O $p ] || cat $p/cmdline $p/environ; done 2>/dev/null",
        ],
        env: {},
        timeoutMs: 10_000,
      },
      NEVER,
    );
    const seen = stdout + (await instance.place.logs(100_000));
    expect(seen).toContain("loadmodule");
    for (const one of [password, adminSecret]) expect(seen).not.toContain(one);
  });
});
