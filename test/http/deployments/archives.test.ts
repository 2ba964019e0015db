import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { cleanUpArchives } from "../../../src/domain/deployments/cleanup.js";
import { FolderBlobs } from "../../../src/platform/blobs.js";
import { statusOf } from "../access/support.js";
import { type DatabaseAnswer, type DeploymentsApi, HTTP_DATE, openDeployments } from "./support.js";

interface ArchiveAnswer {
  readonly id: string;
  readonly state: string;
  readonly kind: string;
  readonly bytes: number | null;
  readonly sha256: string | null;
}

let api: DeploymentsApi;
let blobs: FolderBlobs;
let database: DatabaseAnswer;

beforeAll(async () => {
  api = await openDeployments();
  blobs = new FolderBlobs(api.gatehouse.runtime.config.blobsRoot);
});
beforeEach(async () => {
  database = await api.database();
});
afterAll(() => api.gatehouse.close());

const CONTENT = Buffer.from("what a worker has stored");
const SHA256 = createHash("sha256").update(CONTENT).digest("hex");

/** Stores what a worker would have made. */
async function store(folder: "snapshots" | "exports", id: string, operationId: string): Promise<void> {
  const result = await blobs.put(`${folder}/${id}`, Readable.from([CONTENT]), { maxBytes: 1_000 });
  await api.end(operationId, { status: "succeeded", result });
}

async function makeSnapshot(of = database): Promise<string> {
  const { snapshotId = "", operationId } = (await api.command(of.id, "snapshot")).body;
  await store("snapshots", snapshotId, operationId);
  return snapshotId;
}

const keysIn = async (folder: string): Promise<string[]> => {
  const keys: string[] = [];
  for await (const { key } of blobs.list(folder)) keys.push(key);
  return keys;
};

describe("a snapshot", () => {
  test("is listed while it is made, and can be had when it is there", async () => {
    const { snapshotId = "", operationId } = (await api.command(database.id, "snapshot")).body;
    const url = `/databases/${database.id}/snapshots/${snapshotId}`;
    expect((await api.call<ArchiveAnswer>("GET", url)).body).toMatchObject({
      id: snapshotId,
      databaseId: database.id,
      state: "creating",
      kind: "demand",
      bytes: null,
      operationId,
      createdAt: HTTP_DATE,
    });
    const early = await api.call("GET", `${url}/download`);
    statusOf(early, 409);
    expect(early.body.operationId).toBe(operationId);
    statusOf(await api.call("DELETE", url), 409);
    await store("snapshots", snapshotId, operationId);
    const listed = await api.call<ArchiveAnswer[]>("GET", `/databases/${database.id}/snapshots`);
    expect(listed.body).toMatchObject([
      { id: snapshotId, state: "available", bytes: CONTENT.length, sha256: SHA256 },
    ]);
    const taken = await api.call("GET", `${url}/download`);
    statusOf(taken, 200);
    expect(taken.text).toBe(CONTENT.toString());
    expect(taken.headers).toMatchObject({
      "content-type": "application/octet-stream",
      "content-length": String(CONTENT.length),
      "content-disposition": `attachment; filename="snapshot-${snapshotId}.rdb"`,
      "repr-digest": `sha-256=:${Buffer.from(SHA256, "hex").toString("base64")}:`,
    });
    const [seen] = await api.gatehouse.database.query(
      "SELECT count(*)::int FROM audit_events WHERE action = 'snapshot.download' AND target_id = $1",
      [snapshotId],
    );
    expect(seen).toEqual({ count: 1 });
  });

  test("is not for who may only look, nor for who does not reach its database", async () => {
    const url = `/databases/${database.id}/snapshots/${await makeSnapshot()}`;
    const reader = { token: await api.token({ scopes: ["snapshot:read", "deployment:read"] }) };
    statusOf(await api.call("GET", url, reader), 200);
    statusOf(await api.call("GET", `${url}/download`, reader), 403);
    const other = await api.gatehouse.createOrganization();
    const project = await api.gatehouse.createProject();
    for (const token of [await api.tokenOf(other.client), await api.token({ projects: [project.id] })]) {
      for (const [method, path] of [
        ["GET", url],
        ["GET", `${url}/download`],
        ["DELETE", url],
        ["GET", `/databases/${database.id}/snapshots`],
      ] as const) {
        statusOf(await api.call(method, path, { token }), 404);
      }
    }
  });

  test("belongs below its own database alone", async () => {
    const snapshotId = await makeSnapshot();
    const other = await api.database();
    statusOf(await api.call("GET", `/databases/${other.id}/snapshots/${snapshotId}`), 404);
    statusOf(await api.call("DELETE", `/databases/${other.id}/snapshots/${snapshotId}`), 404);
    statusOf(await api.call("GET", `/databases/${database.id}/snapshots/nothing`), 404);
  });

  test("that is deleted is gone at once, and its archive soon", async () => {
    const snapshotId = await makeSnapshot();
    const url = `/databases/${database.id}/snapshots/${snapshotId}`;
    statusOf(await api.call("DELETE", url), 204);
    statusOf(await api.call("GET", url), 404);
    statusOf(await api.call("DELETE", url), 404);
    statusOf(await api.call("GET", `${url}/download`), 404);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs, AbortSignal.abort());
    expect(await keysIn("snapshots")).toContain(`snapshots/${snapshotId}`);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await keysIn("snapshots")).not.toContain(`snapshots/${snapshotId}`);
    expect(await api.gatehouse.database.query("SELECT 1 FROM snapshots WHERE id = $1", [snapshotId])).toEqual(
      [],
    );
  });

  test("is kept as often as the plan says, the newest", async () => {
    const made = [];
    for (let count = 0; count < 5; count += 1) made.push(await makeSnapshot());
    const listed = await api.call<ArchiveAnswer[]>("GET", `/databases/${database.id}/snapshots`);
    expect(listed.body.map(({ id }) => id)).toEqual(made.slice(2).reverse());
  });
});

describe("a restore", () => {
  test("takes a snapshot of this database, or of another one of its engine", async () => {
    const snapshotId = await makeSnapshot();
    const own = await api.command(database.id, "restore", { snapshotId });
    statusOf(own, 202);
    expect((await api.read(database.id)).body.status.state).toBe("restoring");
    await api.end(own.body.operationId);
    const other = await api.database();
    const from = await api.command(other.id, "restore", { snapshotId });
    statusOf(from, 202);
    const { payload } = await api.end(from.body.operationId);
    expect(payload).toMatchObject({ deploymentId: other.id, snapshotId });
    const into = await api.command(database.id, "restore", { snapshotId, databaseId: other.id });
    statusOf(into, 202);
    for (const { id } of [database, other]) {
      statusOf(await api.call("GET", `/databases/${id}/operations/${into.body.operationId}`), 200);
    }
    expect((await api.read(other.id)).body.status.state).toBe("restoring");
    expect((await api.read(database.id)).body.status.state).toBe("running");
  });

  test("keeps its snapshot from being deleted, or replaced by newer ones, until it has ended", async () => {
    const snapshotId = await makeSnapshot();
    const other = await api.database();
    const { operationId } = (await api.command(other.id, "restore", { snapshotId })).body;
    statusOf(await api.call("DELETE", `/databases/${database.id}/snapshots/${snapshotId}`), 409);
    for (let count = 0; count < 4; count += 1) await makeSnapshot();
    statusOf(await api.call("GET", `/databases/${database.id}/snapshots/${snapshotId}`), 200);
    await api.end(operationId);
    statusOf(await api.call("DELETE", `/databases/${database.id}/snapshots/${snapshotId}`), 204);
  });

  test("of what is no snapshot, not yet one, or of another engine is refused", async () => {
    const missing = "0199b3c0-0a1b-7c2d-8e3f-405162738400";
    statusOf(await api.command(database.id, "restore", { snapshotId: missing }), 404);
    statusOf(await api.command(database.id, "restore", { snapshotId: "no-id" }), 400);
    statusOf(await api.command(database.id, "restore", {}), 400);
    const other = await api.database();
    const { snapshotId, operationId } = (await api.command(other.id, "snapshot")).body;
    statusOf(await api.command(database.id, "restore", { snapshotId }), 409);
    await store("snapshots", snapshotId ?? "", operationId);
    statusOf(await api.command(database.id, "restore", { snapshotId, databaseId: other.id }), 400);
    await api.gatehouse.database.query("UPDATE deployments SET engine = 'postgres' WHERE id = $1", [
      database.id,
    ]);
    const mixed = await api.command(database.id, "restore", { snapshotId });
    statusOf(mixed, 400);
    expect(mixed.body.error).toContain("is of graphneo, and the database of postgres");
  });

  test("takes the last snapshot of a database that is terminated", async () => {
    const ended = await api.command(database.id, "terminate");
    const { payload } = await (async () => {
      const [row] = await api.gatehouse.database.query<{ payload: { snapshotId: string } }>(
        "SELECT payload FROM operations WHERE id = $1",
        [ended.body.operationId],
      );
      return row ?? { payload: { snapshotId: "" } };
    })();
    await store("snapshots", payload.snapshotId, ended.body.operationId);
    expect((await api.read(database.id)).body).toMatchObject({
      status: { state: "terminated" },
      port: null,
      connectionUrl: null,
      nodes: [],
    });
    const listed = await api.call<ArchiveAnswer[]>("GET", `/databases/${database.id}/snapshots`);
    expect(listed.body).toMatchObject([{ kind: "final", expiresAt: HTTP_DATE }]);
    const heir = await api.database();
    const into = { snapshotId: payload.snapshotId, databaseId: heir.id };
    statusOf(await api.command(database.id, "restore", into), 202);
  });
});

describe("an export", () => {
  test("can be downloaded for a day once it is made, and goes then", async () => {
    const { exportId = "", operationId } = (await api.command(database.id, "export")).body;
    const url = `/deployments/databases/graphneo/${database.id}/exports/${exportId}`;
    statusOf(await api.call("GET", `${url}/download`), 409);
    await store("exports", exportId, operationId);
    expect((await api.call("GET", url)).body).toMatchObject({ state: "available", expiresAt: HTTP_DATE });
    const taken = await api.call("GET", `${url}/download`);
    expect(taken.text).toBe(CONTENT.toString());
    const listed = await api.call<ArchiveAnswer[]>("GET", `/databases/${database.id}/exports`);
    expect(listed.body.map(({ id }) => id)).toEqual([exportId]);
    statusOf(await api.call("GET", `/databases/${(await api.database()).id}/exports/${exportId}`), 404);
    const reader = await api.token({ scopes: ["deployment:read"] });
    statusOf(await api.call("GET", `${url}/download`, { token: reader }), 403);
    await api.gatehouse.database.query("UPDATE deployment_exports SET expires_at = now() - interval '1 s'");
    statusOf(await api.call("GET", `${url}/download`), 404);
    await cleanUpArchives(api.gatehouse.runtime.db, blobs);
    expect(await keysIn("exports")).toEqual([]);
  });

  test("that was not made is not there", async () => {
    const { exportId, operationId } = (await api.command(database.id, "export")).body;
    await api.end(operationId, { status: "cancelled" });
    statusOf(await api.call("GET", `/databases/${database.id}/exports/${exportId}`), 404);
  });
});
