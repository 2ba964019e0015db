import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { beginOn } from "../../src/domain/deployments/accept.js";
import { blobKeyOf, readArchive } from "../../src/domain/deployments/archives.js";
import { forgetFailures, recordHealth } from "../../src/domain/deployments/health.js";
import { DEPLOYMENT } from "../../src/domain/deployments/operations.js";
import {
  type DeploymentRecord,
  livingAmong,
  livingDeployments,
  markOfLiving,
} from "../../src/domain/deployments/record.js";
import { openSecrets, sealPassword } from "../../src/domain/deployments/secrets.js";
import { recordRemoval } from "../../src/domain/deployments/settle.js";
import { newId } from "../../src/platform/ids.js";
import { cancelled, type DeploymentBench, failed, openDeployments, succeeded, target } from "./support.js";

let bench: DeploymentBench;

beforeAll(async () => {
  bench = await openDeployments();
});
beforeEach(() => bench.database.query("TRUNCATE deployments CASCADE").then(() => {}));
afterAll(() => bench.close());

async function snapshotOf(row: DeploymentRecord, kind = "demand", state = "creating"): Promise<string> {
  const id = newId();
  await bench.database.query(
    `INSERT INTO snapshots (id, organization_id, project_id, deployment_id, state, kind, engine, version, blob_key,
       operation_id, created_by)
     VALUES ($1, $2, $3, $4, $5, $6, 'graphneo', '4', $7, $1, 'a test')`,
    [id, row.organizationId, row.projectId, row.id, state, kind, blobKeyOf("snapshots", id)],
  );
  return id;
}

const archive = { bytes: 42, sha256: "ab".repeat(32) };

describe("a command that ends", () => {
  test("leads the database to its new state, in the transaction that ends the operation", async () => {
    const row = await bench.deployment("pausing");
    await bench.end(await bench.begin("pause", target(row)), succeeded({ storageBytes: 1_000 }));
    expect(await bench.read(row.id)).toMatchObject({
      state: "paused",
      desiredState: "paused",
      storageBytes: 1_000,
      port: row.port,
    });
  });

  test("and failed to create leaves a failed one that holds its address; cancelled, nothing is held", async () => {
    const [one, other] = [await bench.deployment("creating"), await bench.deployment("creating")];
    await bench.end(await bench.begin("create", target(one, "creating")), failed);
    await bench.end(await bench.begin("create", target(other, "creating")), cancelled);
    expect(await bench.read(one.id)).toMatchObject({
      state: "failed",
      desiredState: "paused",
      port: one.port,
    });
    expect(await bench.read(other.id)).toMatchObject({
      state: "terminated",
      port: null,
      secrets: null,
    });
  });

  test("and cloned leaves the first as it was, and a second that runs, or has failed", async () => {
    const first = await bench.deployment("cloning");
    for (const [outcome, state] of [
      [succeeded(), "running"],
      [failed, "failed"],
      [cancelled, "terminated"],
    ] as const) {
      const clone = await bench.deployment("creating");
      const payload = { ...target(first), other: target(clone, "creating") };
      await bench.end(await bench.begin("clone", payload), outcome);
      expect(await bench.read(first.id)).toMatchObject({ state: "running", port: first.port });
      expect(await bench.read(clone.id)).toMatchObject({ state });
    }
  });

  test("gives port and name back when all is terminated, and its snapshots some days more", async () => {
    const row = await bench.deployment("terminating", { name: "passing" });
    const [last, old] = [await snapshotOf(row, "final"), await snapshotOf(row, "demand", "available")];
    await bench.end(await bench.begin("terminate", { ...target(row), snapshotId: last }), succeeded(archive));
    expect(await bench.read(row.id)).toMatchObject({
      state: "terminated",
      port: null,
      secrets: null,
    });
    const kept = await bench.database.query<{ id: string; expires: boolean }>(
      "SELECT id, expires_at > now() + interval '29 days' AS expires FROM snapshots WHERE state = 'available' ORDER BY id",
    );
    expect(kept).toEqual([
      { id: last, expires: true },
      { id: old, expires: true },
    ]);
    const next = await bench.deployment("creating", { name: "passing" });
    expect(next.port).toBe(row.port);
  });

  test("without having terminated lets it run on, unless its data may be gone", async () => {
    const row = await bench.deployment("terminating");
    await bench.end(await bench.begin("terminate", { ...target(row), snapshotId: null }), failed);
    expect(await bench.read(row.id)).toMatchObject({ state: "running", desiredState: "running" });
    await bench.db.transaction((tx) => recordRemoval(tx, row.id));
    await bench.end(await bench.begin("terminate", { ...target(row), snapshotId: null }), failed);
    expect(await bench.read(row.id)).toMatchObject({ state: "failed", desiredState: "paused" });
  });

  test("sets the password that it was given, and none where it failed", async () => {
    const row = await bench.deployment("running");
    const before = openSecrets(bench.masterKey, row);
    const turn = async (outcome: typeof failed) => {
      const sealed = sealPassword(bench.masterKey, newId(), "x");
      const operation = await bench.begin("rotate-password", target(row), sealed);
      // Sealed for the operation that holds it.
      const payloadSecrets = Buffer.from(sealPassword(bench.masterKey, operation.id, "a new password"));
      await bench.end({ ...operation, payloadSecrets }, outcome);
      return openSecrets(bench.masterKey, await bench.read(row.id));
    };
    expect(await turn(failed)).toEqual(before);
    expect(await turn(succeeded())).toEqual({ ...before, password: "a new password" });
  });

  test("puts the database on its new plan, and keeps no more snapshots than that", async () => {
    const row = await bench.deployment("resizing", { plan: "ds3" });
    for (let count = 0; count < 5; count += 1) await snapshotOf(row, "demand", "available");
    await bench.end(await bench.begin("resize", { ...target(row), plan: "ds1" }), succeeded());
    expect(await bench.read(row.id)).toMatchObject({ plan: "ds1", state: "running" });
    const [left] = await bench.database.query(
      "SELECT count(*)::int FROM snapshots WHERE state = 'available'",
    );
    expect(left).toEqual({ count: 3 });
  });
});

describe("snapshots", () => {
  test("are available once their operation has succeeded, and gone where it has not", async () => {
    const row = await bench.deployment("snapshotting");
    const made = await snapshotOf(row);
    await bench.end(await bench.begin("snapshot", { ...target(row), snapshotId: made }), succeeded(archive));
    expect(await readArchive(bench.db, "snapshots", made)).toMatchObject({ state: "available", ...archive });
    const lost = await snapshotOf(row);
    await bench.end(await bench.begin("snapshot", { ...target(row), snapshotId: lost }), cancelled);
    expect(await readArchive(bench.db, "snapshots", lost)).toMatchObject({ state: "deleted" });
  });

  test("beyond what the plan and the schedule keep go, the oldest first, but for one that is being restored", async () => {
    const row = await bench.deployment("snapshotting");
    const restored = await snapshotOf(row, "demand", "available");
    const scheduled = [
      await snapshotOf(row, "schedule", "available"),
      await snapshotOf(row, "schedule", "available"),
    ];
    await bench.database.query(
      "INSERT INTO snapshot_schedules (deployment_id, cron, keep, created_by) VALUES ($1, '@daily', 1, 'x')",
      [row.id],
    );
    await bench.accept({ operationType: "deployment.restore", payload: { snapshotId: restored } });
    const made = [await snapshotOf(row), await snapshotOf(row), await snapshotOf(row)];
    for (const snapshotId of made) {
      await bench.end(await bench.begin("snapshot", { ...target(row), snapshotId }), succeeded(archive));
    }
    const left = await bench.database.query<{ id: string }>(
      "SELECT id FROM snapshots WHERE state = 'available' ORDER BY id",
    );
    expect(left.map(({ id }) => id)).toEqual([restored, ...made]);
    expect(left).not.toContainEqual({ id: scheduled[1] });
  });
});

describe("health", () => {
  test("marks an incident, and its end forgets the starts that failed", async () => {
    const row = await bench.deployment("running");
    const look = (status: "healthy" | "unhealthy") =>
      recordHealth(bench.db, [{ deploymentId: row.id, status, storageBytes: null }]);
    await look("unhealthy");
    await bench.end(await bench.begin("recover", target(row)), failed);
    await bench.end(await bench.begin("recover", target(row)), failed);
    const ill = await bench.read(row.id);
    expect(ill).toMatchObject({
      state: "running",
      underIncident: true,
      failures: 2,
      healthStatus: "unhealthy",
    });
    expect(Number(ill.nextTryAt)).toBeGreaterThan(Date.now());
    await forgetFailures(bench.db, row.id);
    expect(await bench.read(row.id)).toMatchObject({ underIncident: true, failures: 0, nextTryAt: null });
    await look("healthy");
    expect(await bench.read(row.id)).toMatchObject({ underIncident: false, healthStatus: "healthy" });
  });

  test("is looked after for what lives, with the operation that holds it", async () => {
    const [row, gone] = [await bench.deployment("running"), await bench.deployment("creating")];
    await bench.end(await bench.begin("create", target(gone, "creating")), cancelled);
    const operation = await bench.accept({ locks: [{ type: DEPLOYMENT, id: row.id }] });
    expect(await livingDeployments(bench.db, "local")).toMatchObject([
      { id: row.id, operationId: operation.id },
    ]);
    expect(await livingAmong(bench.db, [row.id, gone.id, newId()])).toEqual(new Set([row.id]));
  });

  test("has a mark that every command changes as it begins and as it ends, and nothing else does", async () => {
    const marks = new Set([await markOfLiving(bench.db, "local")]);
    const changes: readonly ((row: DeploymentRecord) => Promise<unknown>)[] = [
      (row) => bench.accept({ locks: [{ type: DEPLOYMENT, id: row.id }] }),
      (row) => bench.db.transaction((tx) => beginOn(tx, "pause", row)),
      (row) => bench.database.query("DELETE FROM operation_locks WHERE resource_id = $1", [row.id]),
      async (row) => bench.end(await bench.begin("create", target(row, "creating")), cancelled),
    ];
    const row = await bench.deployment("running");
    marks.add(await markOfLiving(bench.db, "local"));
    for (const change of changes) {
      await change(row);
      marks.add(await markOfLiving(bench.db, "local"));
    }
    // None, one at rest, ... and none again.
    expect(marks.size).toBe(changes.length + 1);
    await bench.deployment("running");
    const mark = await markOfLiving(bench.db, "local");
    const [other] = await livingDeployments(bench.db, "local");
    await recordHealth(bench.db, [{ deploymentId: other?.id ?? "", status: "healthy", storageBytes: 1 }]);
    expect(await markOfLiving(bench.db, "local")).toBe(mark);
    expect(await markOfLiving(bench.db, "elsewhere")).toBe("none");
  });
});
