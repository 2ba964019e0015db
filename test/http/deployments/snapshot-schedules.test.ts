import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildDeployments } from "../../../src/deployments.js";
import { Schedules } from "../../../src/domain/schedules/engine.js";
import { statusOf } from "../access/support.js";
import { archive, type DatabaseAnswer, type DeploymentsApi, HTTP_DATE, openDeployments } from "./support.js";

interface ScheduleAnswer {
  readonly overlap: string;
  readonly nextRunAt: string;
  readonly queuedAt: string | null;
  readonly lastSkippedAt: string | null;
}

let api: DeploymentsApi;
let database: DatabaseAnswer;
let url: string;

beforeAll(async () => {
  api = await openDeployments();
});
beforeEach(async () => {
  database = await api.database();
  url = `/databases/${database.id}/snapshot-schedule`;
});
afterAll(() => api.gatehouse.close());

const put = (body: unknown) => api.call<ScheduleAnswer>("PUT", url, { body });
const shown = async (): Promise<ScheduleAnswer> => (await api.call<ScheduleAnswer>("GET", url)).body;
const currentOperation = async (): Promise<string> =>
  (await api.read(database.id)).body.status.currentOperationId ?? "";

/** What each of several workers does now and then. */
function look(): Promise<number> {
  const { db, logger } = api.gatehouse.runtime;
  return new Schedules(db, [buildDeployments(api.gatehouse.runtime).schedules], logger).runDue();
}

async function makeDue(ago: string): Promise<void> {
  await api.gatehouse.database.query(
    "UPDATE snapshot_schedules SET next_run_at = now() - $2::interval WHERE deployment_id = $1",
    [database.id, ago],
  );
}

/** Lets a tick come, of which two workers learn at once. */
async function tick(): Promise<void> {
  await makeDue("1 second");
  await Promise.all([look(), look()]);
}

/** Ends the snapshot that is at work, as a worker would; says which it is. */
async function endSnapshot(): Promise<string> {
  const outcome = { status: "succeeded", result: archive } as const;
  const { operationType, payload } = await api.end(await currentOperation(), outcome);
  expect(operationType).toBe("deployment.snapshot");
  return (payload as { snapshotId: string }).snapshotId;
}

async function snapshots(): Promise<readonly { readonly id: string; readonly kind: string }[]> {
  return (await api.call<{ id: string; kind: string }[]>("GET", `/databases/${database.id}/snapshots`)).body;
}

/** What the audit log says of ticks that made no snapshot at once. */
async function told(): Promise<string[]> {
  const rows = await api.gatehouse.database.query<{ action: string; reason: string }>(
    `SELECT action, details ->> 'reason' AS reason FROM audit_events
     WHERE action LIKE 'schedule.%' AND target_id = $1 ORDER BY id`,
    [database.id],
  );
  return rows.map(({ action, reason }) => `${action}: ${reason}`);
}

describe("a snapshot schedule", () => {
  test("is set, read, replaced and deleted", async () => {
    statusOf(await api.call("GET", url), 404);
    const made = await put({ cron: "0 3 * * *", timezone: "Europe/Berlin", keep: 2, overlap: "queue" });
    statusOf(made, 200);
    expect(made.body).toMatchObject({
      databaseId: database.id,
      cron: "0 3 * * *",
      timezone: "Europe/Berlin",
      keep: 2,
      overlap: "queue",
      nextRunAt: expect.stringMatching(/ 0[12]:00:00 GMT$/),
      queuedAt: null,
      lastSkippedAt: null,
    });
    statusOf(await put({ cron: "@hourly" }), 200);
    expect(await shown()).toMatchObject({ cron: "@hourly", timezone: "UTC", keep: null, overlap: "skip" });
    statusOf(await api.call("DELETE", url), 204);
    statusOf(await api.call("DELETE", url), 404);
  });

  test.each<[object, string]>([
    [{}, "/cron"],
    [{ cron: "often" }, "/cron"],
    [{ cron: "0 0 30 2 *" }, "/cron"],
    [{ cron: "* * * * * *" }, "/cron"],
    [{ cron: "@daily", timezone: "Mars/Olympus" }, "/timezone"],
    [{ cron: "@daily", keep: 0 }, "/keep"],
    [{ cron: "@daily", keep: 4 }, "/keep"],
    [{ cron: "@daily", overlap: "twice" }, "/overlap"],
    [{ cron: "@daily", retention: 4 }, "/retention"],
  ])("%j is refused with 400 at %s", async (body, path) => {
    const answer = await put(body);
    statusOf(answer, 400);
    expect(answer.text).toContain(path);
  });

  test("makes a snapshot when it is due, one for all that were missed, and keeps what it says", async () => {
    await put({ cron: "@yearly", keep: 1 });
    const made: string[] = [];
    for (const _round of [1, 2]) {
      await makeDue("2 days");
      const taken = await Promise.all([look(), look()]);
      expect(taken.reduce((sum, one) => sum + one)).toBe(1);
      made.push(await endSnapshot());
    }
    expect(await snapshots()).toMatchObject([{ id: made[1], kind: "schedule" }]);
    expect(Date.parse((await shown()).nextRunAt)).toBeGreaterThan(Date.now());
  });

  test("lets a tick pass while another operation is at work, or the database rests, and says so", async () => {
    await put({ cron: "@yearly" });
    const { operationId } = (await api.command(database.id, "pause")).body;
    await tick();
    expect(await shown()).toMatchObject({ queuedAt: null, lastSkippedAt: HTTP_DATE });
    await api.end(operationId);
    await tick();
    expect(await told()).toEqual([
      `schedule.skipped: operation ${operationId} is at work`,
      "schedule.skipped: the database is paused",
    ]);
  });

  test("that queues makes exactly one snapshot when the operation at work has ended", async () => {
    await put({ cron: "@yearly", overlap: "queue" });
    const { operationId } = (await api.command(database.id, "restart")).body;
    for (let ticks = 0; ticks < 3; ticks += 1) await tick();
    expect(await currentOperation()).toBe(operationId);
    expect(await shown()).toMatchObject({ queuedAt: HTTP_DATE, lastSkippedAt: HTTP_DATE });
    const reason = `operation ${operationId} is at work`;
    expect(await told()).toEqual([
      `schedule.queued: ${reason}`,
      `schedule.skipped: ${reason}`,
      `schedule.skipped: ${reason}`,
    ]);
    await api.end(operationId);
    await Promise.all([look(), look()]);
    expect((await shown()).queuedAt).toBeNull();
    const made = await endSnapshot();
    await Promise.all([look(), look()]);
    expect(await currentOperation()).toBe("");
    expect(await snapshots()).toMatchObject([{ id: made, kind: "schedule" }]);
  });

  test("that queues waits for no database that rests: the tick passes, and what waited too", async () => {
    await put({ cron: "@yearly", overlap: "queue" });
    const { operationId } = (await api.command(database.id, "pause")).body;
    await tick();
    await api.end(operationId);
    await Promise.all([look(), look()]);
    expect(await shown()).toMatchObject({ queuedAt: null, lastSkippedAt: HTTP_DATE });
    await tick();
    expect(await told()).toEqual([
      `schedule.queued: operation ${operationId} is at work`,
      "schedule.skipped: the database is paused",
      "schedule.skipped: the database is paused",
    ]);
    await api.put(database.id, "running");
    await look();
    expect(await currentOperation()).toBe("");
  });

  test("goes on with what waits where it is set again for the same times, and forgets it where not", async () => {
    const changes: [object, boolean][] = [
      [{ cron: "@yearly", overlap: "queue", keep: 1 }, true],
      [{ cron: "@yearly" }, false],
      [{ cron: "@monthly", overlap: "queue" }, false],
      [{ cron: "@yearly", overlap: "queue", timezone: "Asia/Tokyo" }, false],
    ];
    const { operationId } = (await api.command(database.id, "restart")).body;
    for (const [change, waits] of changes) {
      await put({ cron: "@yearly", overlap: "queue" });
      await tick();
      expect((await shown()).queuedAt).toEqual(HTTP_DATE);
      expect((await put(change)).body.queuedAt !== null, JSON.stringify(change)).toBe(waits);
    }
    await api.end(operationId);
    await look();
    expect(await currentOperation()).toBe("");
  });

  test("that is set again for the same times while a tick is due still makes its snapshot", async () => {
    await put({ cron: "@yearly" });
    await makeDue("1 hour");
    await put({ cron: "@yearly", keep: 1 });
    await look();
    await endSnapshot();
    expect(await snapshots()).toHaveLength(1);
  });
});
