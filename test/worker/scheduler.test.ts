import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Schedules } from "../../src/domain/jobs/schedules.js";
import { type Installation, openInstallation } from "../support/installation.js";
import { until } from "../support/until.js";

let gatehouse: Installation;

beforeAll(async () => {
  // No worker: what is accepted stays, and can be counted.
  gatehouse = await openInstallation({ worker: false });
});
afterAll(async () => {
  await gatehouse?.close();
});

let made = 0;

async function createJob(frequency: string, activate = true): Promise<number> {
  made += 1;
  const { body } = await gatehouse.call<{ data: { id: number } }>("POST", "/api/v1/project/default/jobs", {
    body: {
      name: `scheduled ${made}`,
      source: { name: `from ${made}`, type: "file", version: "1.0.0", config: { path: "a.csv" } },
      destination: { name: `to ${made}`, type: "file", version: "1.0.0", config: { path: `out${made}` } },
      frequency,
      streams_config: {},
      activate,
    },
  });
  return body.data.id;
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

function schedules(): Schedules {
  const { db, ledger, dispatcher } = gatehouse.runtime;
  return new Schedules(db, ledger, dispatcher);
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
    const other = await openInstallation();
    try {
      await other.call("POST", "/api/v1/project/default/jobs", {
        body: {
          name: "by itself",
          source: { name: "from", type: "file", version: "1.0.0", config: { path: "a.csv" } },
          destination: { name: "to", type: "file", version: "1.0.0", config: { path: "out" } },
          frequency: "@hourly",
          streams_config: {},
        },
      });
      await other.database.query("UPDATE jobs SET next_run_at = now() - interval '1 second'");
      const run = await until("the scheduled run has ended", async () => {
        const [row] = await other.database.query<{ state: string; trigger: string }>(
          "SELECT state, trigger FROM runs",
        );
        return row !== undefined && row.state !== "PENDING" && row.state !== "RUNNING" ? row : null;
      });
      expect(run.trigger).toBe("schedule");
    } finally {
      await other.close();
    }
  });
});
