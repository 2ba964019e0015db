import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createPostgresEngine } from "../../src/engines/postgres/engine.js";
import { freePort } from "../engines/support.js";
import { type Installation, openInstallation } from "../support/installation.js";
import { until } from "../support/until.js";

const engine = await createPostgresEngine(process.env["PATH"] ?? "");
const canRun = process.env["CI"] === "true" || engine.versions.length > 0;

interface Database {
  readonly id: string;
  readonly name: string;
  readonly port: number;
  readonly connectionUrl: string;
  readonly status: { readonly state: string; readonly underIncident: boolean };
}

interface Done {
  readonly status: string;
  readonly error?: string | null;
  readonly steps: readonly { readonly name: string; readonly message: string | null }[];
}

describe.skipIf(!canRun)("databases that real servers serve", { timeout: 120_000 }, () => {
  let gatehouse: Installation;
  let folder: string;
  let first: Database;

  beforeAll(async () => {
    if (engine.missing !== null) throw new Error(engine.missing);
    folder = await mkdtemp(join(tmpdir(), "gatehouse-deployments-"));
    // As root the servers run as other users, who must get to their data.
    await chmod(folder, 0o711);
    const from = await freePort();
    const config = join(folder, "config.yaml");
    await writeFile(
      config,
      `regions:\n  here:\n    ports: ${from}-${Math.min(65_535, from + 40)}\n    substrate: { type: process, folder: ${folder}/regions }\n`,
    );
    gatehouse = await openInstallation({ env: { GATEHOUSE_CONFIG: config } });
    await until("the region says what it can run", async () => {
      const { text } = await gatehouse.call("GET", "/deployments/versions");
      return text.includes("postgres") || null;
    });
    first = await create("first");
  }, 120_000);

  afterAll(async () => {
    // A recovery may still hold one.
    await until(
      "all are terminated",
      async () => {
        const left = (await list()).filter(({ status }) => status.state !== "terminated");
        for (const { id } of left) {
          await gatehouse.call("PUT", `/databases/${id}/terminate`, {
            body: { finalSnapshot: false },
            headers: { prefer: "wait=30" },
          });
        }
        return left.length === 0 || null;
      },
      90_000,
    );
    expect(await readdir(join(folder, "regions", "places"))).toEqual([]);
    await gatehouse?.close();
    await rm(folder, { recursive: true, force: true });
  }, 120_000);

  async function list(): Promise<readonly Database[]> {
    const { body } = await gatehouse.call<readonly Database[]>("GET", "/deployments/databases");
    return body;
  }

  async function read(id: string): Promise<Database> {
    return (await gatehouse.call<Database>("GET", `/databases/${id}?reveal=true`)).body;
  }

  async function create(name: string): Promise<Database> {
    const made = await gatehouse.call<{ database: Database }>("POST", "/deployments/databases/postgres", {
      body: { name, plan: "ds1", version: engine.versions[0]?.number, region: "here" },
      headers: { prefer: "wait=60" },
    });
    expect(made.status, made.text).toBe(200);
    return read(made.body.database.id);
  }

  /** Does a command, waits for its end and tells of it. */
  async function done(command: string, id: string, body?: unknown): Promise<Done> {
    const answer = await gatehouse.call<Done>("PUT", `/databases/${id}/${command}`, {
      ...(body === undefined ? {} : { body }),
      headers: { prefer: "wait=60" },
    });
    expect(answer.status, answer.text).toBe(200);
    return answer.body;
  }

  async function query<R extends object>(url: string, sql: string): Promise<R[]> {
    const client = new pg.Client(url);
    client.on("error", () => {});
    await client.connect();
    try {
      return (await client.query<R>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  const count = (url: string) => query<{ n: number }>(url, "SELECT count(*)::int AS n FROM kept");

  test("are paused and resumed at the same address with the same data", async () => {
    await query(first.connectionUrl, "CREATE TABLE kept AS SELECT 1 AS x");
    expect((await done("pause", first.id)).status).toBe("finished");
    await expect(count(first.connectionUrl)).rejects.toThrow();
    expect((await done("resume", first.id)).status).toBe("finished");
    expect((await done("restart", first.id)).status).toBe("finished");
    expect(await count(first.connectionUrl)).toEqual([{ n: 1 }]);
  });

  test("are copied, put back, and exchange their addresses with what opens them", async () => {
    const taken = await done("snapshot", first.id);
    expect(taken.status).toBe("finished");
    const snapshots = await gatehouse.call<readonly { id: string }[]>(
      "GET",
      `/databases/${first.id}/snapshots`,
    );
    expect((await done("clone", first.id, { name: "second" })).status).toBe("finished");
    const copy = (await list()).find(({ name }) => name === "second");
    const second = await read(copy?.id ?? "");
    await query(first.connectionUrl, "INSERT INTO kept VALUES (2)");
    expect(await count(second.connectionUrl)).toEqual([{ n: 1 }]);
    expect((await done("connection-url", first.id, { databaseId: second.id })).status).toBe("finished");
    expect(await count(first.connectionUrl)).toEqual([{ n: 1 }]);
    expect(await count(second.connectionUrl)).toEqual([{ n: 2 }]);
    const snapshotId = snapshots.body[0]?.id;
    expect((await done("restore", first.id, { snapshotId })).status).toBe("finished");
    expect(await count(second.connectionUrl)).toEqual([{ n: 1 }]);
    first = await read(first.id);
  });

  test("keep their data where an archive is bad, and the step says why", async () => {
    const sent = await gatehouse.call<Done>("POST", `/databases/${first.id}/import`, {
      headers: { "content-type": "multipart/form-data; boundary=b", prefer: "wait=60" },
      raw: '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\\! id\r\n--b--\r\n',
    });
    expect(sent.body.status, sent.text).toBe("failed");
    expect(sent.body.steps.at(-1)?.message).toMatch(/archive cannot be loaded/);
    expect(await count(first.connectionUrl)).toEqual([{ n: 1 }]);
  });

  test("take another plan and another password", async () => {
    expect((await done("plan/change", first.id, { targetPlanName: "ds2" })).status).toBe("finished");
    const former = first.connectionUrl;
    expect((await done("connection-url", first.id, { rotatePassword: true })).status).toBe("finished");
    await expect(count(former)).rejects.toThrow(/password/);
    first = await read(first.id);
    expect(await count(first.connectionUrl)).toEqual([{ n: 1 }]);
  });

  test("are started again when their server is killed, with all that was acknowledged", async () => {
    await query(first.connectionUrl, "INSERT INTO kept VALUES (3)");
    process.kill(await postmasterOf(first.id), "SIGKILL");
    await until("it serves again", async () => {
      const found = await count(first.connectionUrl).catch(() => null);
      return found?.[0]?.n === 2 || null;
    });
    await until("it is said to be well", async () => {
      const { status: now } = await read(first.id);
      return (now.state === "running" && !now.underIncident) || null;
    });
  });

  async function postmasterOf(id: string): Promise<number> {
    const file = join(folder, "regions", "places", id, "volume", "cluster", "postmaster.pid");
    return Number((await readFile(file, "utf8")).split("\n")[0]);
  }
});
