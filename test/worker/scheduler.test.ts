import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { reschedule } from "../../src/domain/jobs/schedule.js";
import { scheduledJobs } from "../../src/domain/jobs/scheduled.js";
import { type DueSchedule, type ScheduleBook, Schedules } from "../../src/domain/schedules/engine.js";
import { newId } from "../../src/platform/ids.js";
import { recordEnd } from "../../src/worker/handlers/run/record.js";
import { startWorker } from "../../src/worker.js";
import { type Credentials, type Installation, openInstallation } from "../support/installation.js";
import { until } from "../support/until.js";

let gatehouse: Installation;

beforeAll(async () => {
  // No worker: what is accepted stays, and can be counted.
  gatehouse = await openInstallation({ worker: false });
});
afterAll(async () => {
  await gatehouse?.close();
});

const JOBS = "/api/v1/project/default/jobs";
/** Of the jobs, by number: as they were created. */
const bodies = new Map<number, object>();

async function createJob(frequency: string, activate = true, more: object = {}): Promise<number> {
  const made = bodies.size + 1;
  const body = {
    name: `scheduled ${made}`,
    source: { name: `from ${made}`, type: "file", version: "1.0.0", config: { path: "a.csv" } },
    destination: { name: `to ${made}`, type: "file", version: "1.0.0", config: { path: `out${made}` } },
    frequency,
    streams_config: {},
    activate,
    ...more,
  };
  const { data } = (await gatehouse.call<{ data: { id: number } }>("POST", JOBS, { body })).body;
  bodies.set(data.id, body);
  return data.id;
}

function query<R extends object>(text: string, values: unknown[]): Promise<R[]> {
  return gatehouse.database.query<R>(text, values);
}

async function makeDue(number: number, ago: string): Promise<void> {
  await query("UPDATE jobs SET next_run_at = now() - $2::interval WHERE number = $1", [number, ago]);
}

async function runsOf(number: number): Promise<{ trigger: string; operation_id: string }[]> {
  return query(
    "SELECT r.trigger, r.operation_id FROM runs r JOIN jobs j ON j.id = r.job_id WHERE j.number = $1",
    [number],
  );
}

/** What a book hands out. */
function dueSchedule(more: Pick<DueSchedule, "overlap" | "nextAt"> & Partial<DueSchedule>): DueSchedule {
  const { organizationId } = gatehouse;
  return {
    ...{ id: newId(), organizationId, projectId: null, cron: "@daily", timeZone: "UTC" },
    ...{ now: new Date(), queuedAt: null, obstacle: null, ...more },
  };
}

function schedules(...more: ScheduleBook[]): Schedules {
  const { db, ledger, logger } = gatehouse.runtime;
  return new Schedules(db, [...more, scheduledJobs(ledger)], logger);
}

/** Ends a run as a worker would. */
async function endRun(operationId: string | undefined): Promise<void> {
  const { ledger } = gatehouse.runtime;
  const operation = await ledger.claim(operationId ?? "", "worker", 60_000);
  if (operation === null) throw new Error("cannot be claimed");
  const outcome = { status: "succeeded", result: null } as const;
  await ledger.finish(operation.id, operation.attempt, outcome, (tx) => recordEnd(tx, operation, outcome));
}

interface JobAnswer {
  readonly id: string;
  readonly schedule: string | null;
  readonly nextRunAt: string | null;
  readonly queuedAt: string | null;
  readonly lastSkippedAt: string | null;
}

/** A job as the core API shows it. */
async function shown(number: number): Promise<JobAnswer> {
  const [row] = await query<{ id: string }>("SELECT id FROM jobs WHERE number = $1", [number]);
  return (await gatehouse.call<JobAnswer>("GET", `/api/v1/jobs/${row?.id}`)).body;
}

async function change(number: number, body: object): Promise<number> {
  const { id } = await shown(number);
  return (await gatehouse.call("PATCH", `/api/v1/jobs/${id}/schedule`, { body })).status;
}

async function audited(number: number, action: string): Promise<unknown[]> {
  return query(
    `SELECT details FROM audit_events JOIN jobs ON jobs.id::text = target_id WHERE number = $1 AND action = $2`,
    [number, action],
  );
}

describe("a schedule", () => {
  test("knows its next run from the start, and has none when there is no schedule", async () => {
    const hourly = await createJob("@hourly");
    const manual = await createJob("");
    const rows = await query<{ number: number; due: boolean | null }>(
      "SELECT number, next_run_at > now() AS due FROM jobs WHERE number = ANY ($1)",
      [[hourly, manual]],
    );
    expect(rows.find((row) => row.number === hourly)?.due).toBe(true);
    expect(rows.find((row) => row.number === manual)?.due).toBeNull();
  });

  test("starts one run for a tick, however many workers look at once", async () => {
    const job = await createJob("@hourly");
    await makeDue(job, "1 second");
    await Promise.all([1, 2, 3, 4, 5].map(() => schedules().runDue()));
    expect((await runsOf(job)).map(({ trigger }) => trigger)).toEqual(["schedule"]);
  });

  test("that is due while its worker stops is left to the next one", async () => {
    const job = await createJob("@hourly");
    await makeDue(job, "1 second");
    expect(await schedules().runDue(AbortSignal.abort())).toBe(0);
    expect(await runsOf(job)).toEqual([]);
    await schedules().runDue();
    expect(await runsOf(job)).toHaveLength(1);
  });

  test("makes up for many missed ticks by one run, and goes on in the future", async () => {
    const job = await createJob("* * * * *");
    await makeDue(job, "3 days");
    await schedules().runDue();
    await schedules().runDue();
    expect(await runsOf(job)).toHaveLength(1);
    const [row] = await query<{ ahead: boolean }>(
      "SELECT next_run_at > now() AS ahead FROM jobs WHERE number = $1",
      [job],
    );
    expect(row?.ahead).toBe(true);
  });

  test("lets a tick pass while a run is active, and writes that down", async () => {
    const job = await createJob("@hourly");
    await makeDue(job, "1 second");
    await schedules().runDue();
    const [active] = await runsOf(job);
    await makeDue(job, "1 second");
    await schedules().runDue();
    expect(await runsOf(job)).toHaveLength(1);
    const skips = await query<{ details: { activeOperationId: string } }>(
      "SELECT details FROM audit_events WHERE action = 'schedule.skipped' AND details->>'activeOperationId' = $1",
      [active?.operation_id],
    );
    expect(skips).toHaveLength(1);
    expect((await shown(job)).lastSkippedAt).not.toBeNull();
  });

  test("that queues starts exactly one more run when the active one has ended", async () => {
    const job = await createJob("@hourly");
    expect(await change(job, { overlap: "queue" })).toBe(200);
    for (let tick = 0; tick < 4; tick++) {
      await makeDue(job, "1 second");
      await Promise.all([schedules().runDue(), schedules().runDue()]);
    }
    const [active, none] = await runsOf(job);
    expect(none).toBeUndefined();
    expect((await shown(job)).queuedAt).not.toBeNull();
    expect(await audited(job, "schedule.queued")).toHaveLength(1);
    expect(await audited(job, "schedule.skipped")).toHaveLength(2);
    await endRun(active?.operation_id);
    await Promise.all([schedules().runDue(), schedules().runDue()]);
    const runs = await runsOf(job);
    expect(runs).toHaveLength(2);
    expect(await shown(job)).toMatchObject({ queuedAt: null });
    await endRun(runs.find(({ operation_id: id }) => id !== active?.operation_id)?.operation_id);
    await schedules().runDue();
    expect(await runsOf(job)).toHaveLength(2);
  });

  test("that is changed or turned off forgets the run that waits", async () => {
    for (const body of [{ scheduleActive: false }, { schedule: "@daily" }, { overlap: "skip" }]) {
      const job = await createJob("@hourly");
      await change(job, { overlap: "queue" });
      for (const _tick of [1, 2]) {
        await makeDue(job, "1 second");
        await schedules().runDue();
      }
      expect((await shown(job)).queuedAt).not.toBeNull();
      expect(await change(job, body)).toBe(200);
      expect((await shown(job)).queuedAt).toBeNull();
      await endRun((await runsOf(job))[0]?.operation_id);
      await schedules().runDue();
      expect(await runsOf(job)).toHaveLength(1);
    }
  });

  test("whose worker is gone between the tick and the acceptance runs once, by the next one that looks", async () => {
    const job = await createJob("@hourly");
    await makeDue(job, "1 second");
    const { db, ledger, logger } = gatehouse.runtime;
    const book = scheduledJobs(ledger);
    const dying = new Schedules(
      db,
      [
        {
          ...book,
          start: async (tx, principal, due) => {
            await book.start(tx, principal, due as Parameters<typeof book.start>[2]);
            await tx.run("SELECT pg_terminate_backend(pg_backend_pid())");
          },
        },
      ],
      logger,
    );
    await expect(dying.runDue()).rejects.toThrow();
    expect(await runsOf(job)).toEqual([]);
    await schedules().runDue();
    await schedules().runDue();
    expect(await runsOf(job)).toHaveLength(1);
  });

  test("that is due when something else of its job is changed stays due, and what waits waits on", async () => {
    const job = await createJob("@hourly");
    await makeDue(job, "2 hours");
    expect(await change(job, { overlap: "queue" })).toBe(200);
    await schedules().runDue();
    expect(await runsOf(job)).toHaveLength(1);
    await makeDue(job, "1 second");
    await schedules().runDue();
    const { queuedAt } = await shown(job);
    expect(queuedAt).not.toBeNull();
    const again = await gatehouse.call("PUT", `${JOBS}/${job}`, { body: bodies.get(job) });
    expect(again.status, again.text).toBe(200);
    expect(await shown(job)).toMatchObject({ queuedAt, overlap: "queue", version: 1 });
  });

  test("that cannot be taken by this worker keeps no other from starting, and is left for others", async () => {
    const unknown = await createJob("@daily");
    const fine = await createJob("@hourly");
    await query("UPDATE jobs SET time_zone = 'Nowhere/Nothing' WHERE number = $1", [unknown]);
    await makeDue(unknown, "2 hours");
    await makeDue(fine, "1 second");
    const worker = schedules();
    expect(await worker.runDue()).toBe(1);
    expect(await runsOf(fine)).toHaveLength(1);
    await makeDue(fine, "1 second");
    expect(await worker.runDue()).toBe(1);
    // Its tick has not passed: whoever knows the zone takes it.
    await query("UPDATE jobs SET time_zone = 'Europe/Berlin' WHERE number = $1", [unknown]);
    await schedules().runDue();
    expect(await runsOf(unknown)).toHaveLength(1);
  });

  test("that is changed goes on with its next tick by the database's clock, whatever this process's says", async () => {
    const job = await createJob("");
    const { id } = await shown(job);
    const { prisma } = gatehouse.runtime;
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 24 * 3_600_000 });
    try {
      await prisma.$transaction((tx) => reschedule(tx, id, { schedule: "@hourly" }, "a test"));
    } finally {
      vi.useRealTimers();
    }
    expect(Date.parse(String((await shown(job)).nextRunAt))).toBeGreaterThan(Date.now());
  });

  test("whose start fails lets its tick pass, says so, and keeps no other from starting", async () => {
    const broken = await createJob("@hourly");
    const sound = await createJob("@hourly");
    await query(
      `UPDATE job_versions SET graph = '{"vertices": [{"name": null}], "edges": []}'
       FROM jobs WHERE jobs.id = job_id AND number = $1`,
      [broken],
    );
    await makeDue(broken, "1 hour");
    await makeDue(sound, "1 second");
    await schedules().runDue();
    expect(await runsOf(broken)).toEqual([]);
    expect(await runsOf(sound)).toHaveLength(1);
    expect(await audited(broken, "schedule.failed")).toEqual([{ details: { detail: "an internal error" } }]);
    const [next] = await query<{ at: Date }>("SELECT next_run_at AS at FROM jobs WHERE number = $1", [
      broken,
    ]);
    expect(next?.at.getTime()).toBeGreaterThan(Date.now());
  });

  test("is of whatever has a book of its own", async () => {
    const started: string[] = [];
    let due = 3;
    const book: ScheduleBook = {
      kind: "deployment",
      due: "true",
      take: async () => {
        if (due === 0) return null;
        due -= 1;
        return dueSchedule({ overlap: "skip", nextAt: new Date(0) });
      },
      start: async (_tx, principal, { id }) => void started.push(`${principal.name} ${id}`),
      write: async (_tx, _schedule, { nextAt }) => {
        expect(nextAt?.getTime()).toBeGreaterThan(Date.now());
      },
    };
    expect(await schedules(book).runDue()).toBe(3);
    expect(started).toHaveLength(3);
    expect(started[0]).toContain("scheduler");
  });

  test("whose start waits has it go on waiting where something came in its way just now, and says nothing", async () => {
    const queuedAt = new Date();
    const nextAt = new Date(queuedAt.getTime() + 60_000);
    const book: ScheduleBook = {
      kind: "deployment",
      due: "true",
      take: async () =>
        dueSchedule({ overlap: "queue", now: queuedAt, nextAt, queuedAt, obstacle: { running: "it" } }),
      start: async () => expect.unreachable("it was started"),
      write: async () => expect.unreachable("it was written"),
    };
    expect(await schedules(book).runDue()).toBe(0);
  });

  test("is read in the time zone that the job says, through either API", async () => {
    const job = await createJob("0 3 * * *");
    expect(await change(job, { timeZone: "Asia/Tokyo" })).toBe(200);
    expect(await shown(job)).toMatchObject({ timeZone: "Asia/Tokyo", schedule: "0 3 * * *" });
    expect((await shown(job)).nextRunAt).toMatch(/T18:00:00/);
    expect(await change(job, { timeZone: "Mars/Phobos" })).toBe(400);
    expect(await change(job, { schedule: "every day" })).toBe(400);
    expect(await change(job, { overlap: "twice" })).toBe(400);
    expect(await change(job, { schedule: null })).toBe(200);
    expect(await shown(job)).toMatchObject({ schedule: null, nextRunAt: null });
    const zoned = await createJob("0 3 * * *", true, { time_zone: "Asia/Tokyo", overlap: "queue" });
    expect(await shown(zoned)).toMatchObject({ timeZone: "Asia/Tokyo", overlap: "queue" });
  });

  test("is changed by who may write the job alone, and not found elsewhere", async () => {
    const { id } = await shown(await createJob("@hourly"));
    const url = `/api/v1/jobs/${id}/schedule`;
    const body = { schedule: "@daily" };
    const asClient = async (client: Credentials): Promise<number> =>
      (await gatehouse.call("PATCH", url, { body, token: await gatehouse.token(client) })).status;
    expect((await gatehouse.call("PATCH", url, { body, token: null })).status).toBe(401);
    expect(await asClient(await gatehouse.createClient({ scopes: ["job:read"] }))).toBe(403);
    expect(await asClient((await gatehouse.createOrganization()).client)).toBe(404);
    const other = await gatehouse.createProject();
    expect(await asClient(await gatehouse.createClient({ projects: [other.id] }))).toBe(404);
    expect(await asClient(await gatehouse.createClient({ scopes: ["job:write"] }))).toBe(200);
  });

  test("that is off, and the schedule of a deleted job, start nothing", async () => {
    const off = await createJob("@hourly", false);
    const deleted = await createJob("@hourly");
    await gatehouse.call("DELETE", `/api/v1/project/default/jobs/${deleted}`);
    await makeDue(off, "1 second");
    await makeDue(deleted, "1 second");
    await schedules().runDue();
    expect(await runsOf(off)).toEqual([]);
    expect(await runsOf(deleted)).toEqual([]);
  });
});

describe("a worker", () => {
  test("starts due schedules by itself", async () => {
    const job = await createJob("@hourly");
    await makeDue(job, "1 second");
    const worker = await startWorker(gatehouse.runtime);
    try {
      const run = await until("the scheduled run has ended", async () => {
        const [row] = await query<{ state: string; trigger: string }>(
          "SELECT r.state, r.trigger FROM runs r JOIN jobs j ON j.id = r.job_id WHERE j.number = $1",
          [job],
        );
        return row !== undefined && row.state !== "PENDING" && row.state !== "RUNNING" ? row : null;
      });
      expect(run.trigger).toBe("schedule");
    } finally {
      await worker.stop();
    }
  });
});
