import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, rm, rmdir, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { FalkorDB } from "falkordb";
import pg from "pg";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { type Engine, EngineError } from "../../src/engines/engine.js";
import { createGraphEngine } from "../../src/engines/graph/engine.js";
import { createPostgresEngine } from "../../src/engines/postgres/engine.js";
import { until } from "../support/until.js";
import {
  context,
  createDeployment,
  createRegion,
  describeEngine,
  MIB,
  type TestDeployment,
} from "./support.js";

vi.setConfig({ testTimeout: 120_000 });

/** A disk of memory, which only root can mount; CI runs as root. */
const mount = await mkdtemp("/tmp/gatehouse-disk-");
await chmod(mount, 0o711);
const canMount = tryTo("mount", "-t", "tmpfs", "-o", "size=192m,mode=711", "tmpfs", mount);
if (!canMount && process.env["CI"] === "true") throw new Error("no tmpfs can be mounted here");
afterAll(async () => {
  if (canMount) execFileSync("umount", [mount]);
  await rmdir(mount);
});

function tryTo(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(!canMount)("on a disk that is full", async () => {
  const region = await createRegion(mount);
  const ballast = join(mount, "ballast");

  /** Leaves so much room on the disk, of which others have taken the rest. */
  async function leave(bytes: number): Promise<void> {
    await makeRoom();
    const { bavail, bsize } = await statfs(mount);
    await writeFile(ballast, Buffer.alloc(Math.max(0, bavail * bsize - bytes)));
  }
  const makeRoom = () => rm(ballast, { force: true });
  afterEach(makeRoom);

  async function serving(engine: Engine): Promise<TestDeployment> {
    const deployment = await createDeployment(region, engine);
    const instance = await deployment.next();
    await engine.provision(instance, context);
    await engine.start(instance, context);
    return deployment;
  }

  async function refusalOf(work: Promise<unknown>): Promise<EngineError> {
    const error = await work.then(
      () => new Error("it was not refused"),
      (failure: unknown) => failure,
    );
    if (error instanceof EngineError) return error;
    throw error;
  }

  const postgres = await createPostgresEngine(process.env["PATH"] ?? "");
  describeEngine(postgres, () => {
    test("a restore is refused and says why, what was acknowledged is kept, and it goes on when there is room", async () => {
      const deployment = await serving(postgres);
      const { host, port } = deployment.look().place;
      const url = postgres.connectionUrl(host, port, deployment.credentials);
      const query = async (sql: string) => {
        const client = new pg.Client(url);
        client.on("error", () => {});
        await client.connect();
        return client.query(sql).finally(() => client.end());
      };
      await query(
        "CREATE TABLE kept AS SELECT n, md5(n::text) || md5((-n)::text) AS t FROM generate_series(1, 100000) AS n",
      );
      const archive = await buffer(await postgres.snapshot(await deployment.next(), context));
      await leave(archive.length + 4 * MIB);
      const refused = await refusalOf(
        postgres.restore(await deployment.next(), Readable.from([archive]), context),
      );
      expect(refused).toMatchObject({ code: "disk_full", message: "the disk of the region is full" });
      let acknowledged = 100_000;
      const failure = await (async () => {
        for (;;) {
          await query(
            "INSERT INTO kept SELECT -n, repeat(md5(n::text), 8) FROM generate_series(1, 2000) AS n",
          );
          acknowledged += 2_000;
        }
      })().catch((error: unknown) => error);
      expect(String(failure)).toMatch(/No space left on device|Connection terminated|ECONN|terminating/);
      await makeRoom();
      await postgres.start(await deployment.next(), context);
      const { rows } = await query("SELECT count(*)::int AS n FROM kept");
      // The statement that failed may have been done, and only its answer lost.
      expect([acknowledged, acknowledged + 2_000]).toContain(rows[0]?.n);
      await query("INSERT INTO kept VALUES (0, 'again')");
    });
  });

  const graph = await createGraphEngine();
  describeEngine(graph, () => {
    test("a restore is refused and says why, what was acknowledged is kept, and it goes on when there is room", async () => {
      const deployment = await serving(graph);
      const { host, port } = deployment.look().place;
      const cypher = async (query: string, how: "query" | "roQuery" = "query") => {
        const client = await FalkorDB.connect({
          url: graph.connectionUrl(host, port, deployment.credentials),
        });
        client.on("error", () => {});
        return client
          .selectGraph("kept")
          [how]<{ n: number }>(query)
          .finally(() => client.close());
      };
      const countOf = async (label = "Kept") =>
        (await cypher(`MATCH (k:${label}) RETURN count(k) AS n`, "roQuery")).data?.[0]?.n;
      await cypher("UNWIND range(1, 20000) AS i CREATE (:Kept {i: i, text: randomUUID()})");
      const archive = await buffer(await graph.snapshot(await deployment.next(), context));
      await leave(archive.length + 64 * 1024);
      const refused = await refusalOf(
        graph.restore(await deployment.next(), Readable.from([archive]), context),
      );
      expect(refused.code).toBe("disk_full");
      expect(await countOf()).toBe(20_000);
      await leave(0);
      const failure = await (async () => {
        for (;;) await cypher("UNWIND range(1, 1000) AS i CREATE (:Late {text: randomUUID()})");
      })().catch((error: unknown) => error);
      expect(String(failure)).toMatch(/MISCONF|No space left/);
      // One batch of writes may have been acknowledged that is in memory alone.
      expect(await refusalOf(graph.stop(await deployment.next(), context))).toMatchObject({
        code: "disk_full",
      });
      const late = await countOf("Late");
      await makeRoom();
      await until("it takes writes again", () => cypher("CREATE (:Kept)").catch(() => null));
      await graph.stop(await deployment.next(), context);
      await graph.start(await deployment.next(), context);
      expect(await countOf()).toBe(20_001);
      expect(await countOf("Late")).toBe(late);
    });
  });
});
