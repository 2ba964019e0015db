import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startWorker } from "../../../src/worker.js";
import { openInstallation } from "../../support/installation.js";
import { until } from "../../support/until.js";
import { expectFailure, operationOf } from "../project/support.js";
import { type OperationsBench, openOperations } from "./support.js";

let bench: OperationsBench;
beforeAll(async () => {
  bench = await openOperations();
});
afterAll(() => bench.close());

const stateOf = async (jobId: string): Promise<unknown> =>
  (await bench.gatehouse.call<{ state: string }>("GET", `/api/v1/jobs/${jobId}`)).body.state;

const auditOf = async (action: string, targetId: string): Promise<number> =>
  (
    await bench.gatehouse.database.query("SELECT 1 FROM audit_events WHERE action = $1 AND target_id = $2", [
      action,
      targetId,
    ])
  ).length;

describe("a cancelled sync", () => {
  test("ends within a second or so, leaves the old data as they were, and is audited once", async () => {
    const job = await bench.slowJob();
    await bench.gatehouse.waitDone((await bench.sync(job)).body.id);
    expect(await bench.gatehouse.readFile(`${job.out}/slow.csv`)).toBe("id\n1\n2\n3\n");
    await bench.store.query("INSERT INTO slow VALUES (4)");
    const release = await bench.hold();
    const { id, resource } = (await bench.sync(job)).body;
    await bench.atTable(id);
    const asked = performance.now();
    const answer = await bench.cancel(id);
    expect(answer.status, answer.text).toBe(202);
    expect(answer.headers).toMatchObject({ location: `/api/v1/operations/${id}` });
    expect(answer.body).toMatchObject({ id, status: "cancelling", done: false });
    expect([202, 409]).toContain((await bench.cancel(id)).status);
    const done = await bench.gatehouse.waitDone(id);
    expect(performance.now() - asked).toBeLessThan(5_000);
    expect(done).toMatchObject({ status: "cancelled", result: null, error: null });
    // The step that was under way has ended with it.
    const [step] = (await bench.read(id)).body.steps;
    expect(step).toMatchObject({ name: "copy", status: "cancelled", finishedAt: expect.any(String) });
    await release();
    expect(await bench.gatehouse.readFile(`${job.out}/slow.csv`)).toBe("id\n1\n2\n3\n");
    const run = await bench.gatehouse.call("GET", `/api/v1/job-runs/${resource.id}`);
    expect(run.body).toMatchObject({ state: "CANCELLED", steps: [{ state: "CANCELLED" }, {}] });
    expect(await stateOf(job.id)).toBe("STOPPED");
    expect(await auditOf("operation.cancel", id)).toBe(1);
    // Its lock is free.
    expect(await bench.gatehouse.waitDone((await bench.sync(job)).body.id)).toMatchObject({
      status: "succeeded",
      result: { rows: 4 },
    });
  });

  test("is a 409 once it is done, a 404 where the caller does not see it, a 403 without the scope", async () => {
    const job = await bench.quickJob();
    const { id } = (await bench.sync(job)).body;
    await bench.gatehouse.waitDone(id);
    const again = await bench.cancel(id);
    expect(again.status).toBe(409);
    expect(again.body).toMatchObject({ code: "conflict" });
    const other = await bench.gatehouse.createOrganization();
    const token = await bench.gatehouse.token(other.client);
    for (const path of ["cancel", "retry"] as const) {
      expect((await bench[path](id, { token })).status).toBe(404);
      expect((await bench[path]("no-id")).status).toBe(404);
      expect((await bench[path](id, { token: null })).status).toBe(401);
      const reader = await bench.gatehouse.createClient({ scopes: ["operation:read", "job:write"] });
      expect((await bench[path](id, { token: await bench.gatehouse.token(reader) })).status).toBe(403);
    }
  });

  test("of a type that cannot be cancelled is a 409", async () => {
    const { id } = (await bench.sync(await bench.quickJob())).body;
    await bench.gatehouse.waitDone(id);
    await bench.gatehouse.database.query(
      `UPDATE operations SET status = 'running', finished_at = NULL, operation_type = 'of-old',
         lease_expires_at = now() + interval '1 hour' WHERE id = $1`,
      [id],
    );
    const answer = await bench.cancel(id);
    expect(answer.status).toBe(409);
    expect(answer.text).toContain("cannot be cancelled");
    await bench.gatehouse.database.query("UPDATE operations SET status = 'failed' WHERE id = $1", [id]);
    expect((await bench.retry(id)).status).toBe(409);
  });

  test.each(["GET", "POST"])("is asked for by %s of the project API", async (method) => {
    const job = await bench.slowJob();
    const path = `/jobs/${job.number}/cancel`;
    expectFailure(await bench.api.call(method, path), 409, "no run of this job is active");
    expectFailure(await bench.api.call(method, "/jobs/2147483647/cancel"), 404, "Resource not found");
    const release = await bench.hold();
    const id = await bench.api.sync(job.number);
    await bench.atTable(id);
    expect((await bench.api.call("HEAD", path)).status).toBe(405);
    expect((await bench.read(id)).body.status).toBe("running");
    const answer = await bench.api.call(method, path);
    expect(answer.text).toBe('{"success":true,"message":"success","data":null}');
    expect(operationOf(answer)).toBe(id);
    expect((await bench.gatehouse.waitDone(id)).status).toBe("cancelled");
    await release();
    const tasks = await bench.api.get<{ status: string }[]>(`/jobs/${job.number}/tasks`);
    expect(tasks.body.data).toMatchObject([{ status: "cancelled" }]);
  });
});

describe("a retry", () => {
  test("is a new run of the job, chained to the old operation; a second one a 409 that names it", async () => {
    const job = await bench.slowJob();
    const release = await bench.hold();
    const { id } = (await bench.sync(job)).body;
    expect((await bench.retry(id)).status).toBe(409);
    await bench.cancel(id);
    await bench.gatehouse.waitDone(id);
    await release();
    const answer = await bench.retry(id);
    expect(answer.status, answer.text).toBe(202);
    const next = answer.body;
    expect(answer.headers["operation-location"]).toBe(`/api/v1/operations/${next.id}`);
    expect((await bench.read(id)).body.nextOperationId).toBe(next.id);
    const again = await bench.retry(id);
    expect(again.status).toBe(409);
    expect(again.body).toMatchObject({ operationId: next.id });
    const done = await bench.gatehouse.waitDone(next.id);
    expect(done).toMatchObject({ status: "succeeded" });
    const run = await bench.gatehouse.call("GET", `/api/v1/job-runs/${done.resource.id}`);
    expect(run.body).toMatchObject({ trigger: "retry", number: 2, state: "FINISHED" });
    expect((await bench.retry(next.id)).status).toBe(409);
  });

  test("asked for ten times at once starts one run", async () => {
    const job = await bench.quickJob();
    const { id } = (await bench.sync(job)).body;
    await bench.gatehouse.waitDone(id);
    await bench.gatehouse.database.query("UPDATE operations SET status = 'failed' WHERE id = $1", [id]);
    const answers = await Promise.all(Array.from({ length: 10 }, () => bench.retry(id)));
    expect(answers.map(({ status }) => status).sort()).toEqual([202, ...Array(9).fill(409)]);
  });

  test("of a deleted job is a 409", async () => {
    const job = await bench.quickJob();
    const { id } = (await bench.sync(job)).body;
    await bench.gatehouse.waitDone(id);
    await bench.gatehouse.database.query("UPDATE operations SET status = 'failed' WHERE id = $1", [id]);
    await bench.api.delete(`/jobs/${job.number}`);
    const answer = await bench.retry(id);
    expect(answer.status).toBe(409);
    expect(answer.text).toContain("deleted");
  });
});

test("what waits for a worker is cancelled without being run, and its lock is freed", async () => {
  const idle = await openInstallation({ worker: false });
  try {
    await idle.putFile("in.csv", "id\n1\n");
    const body = {
      name: "waits",
      source: { name: "in", type: "file", version: "1.0.0", config: { path: "in.csv" } },
      destination: { name: "out", type: "file", version: "1.0.0", config: { path: "out" } },
      frequency: "",
      streams_config: {},
    };
    await idle.call("POST", "/api/v1/project/default/jobs", { body });
    const [job] = await idle.database.query<{ id: string }>("SELECT id FROM jobs");
    const { id } = (await idle.call<{ id: string }>("POST", `/api/v1/jobs/${job?.id}/sync`)).body;
    const cancelled = await idle.call("POST", `/api/v1/operations/${id}/cancel`);
    expect(cancelled.body).toMatchObject({ status: "cancelling" });
    const worker = await startWorker(idle.runtime);
    const [row] = await until("it has ended", async () => {
      const rows = await idle.database.query<{ state: string; job: string; locks: number; steps: unknown[] }>(
        `SELECT r.state, j.state AS job, o.steps,
           (SELECT count(*)::int FROM operation_locks) AS locks
         FROM operations o JOIN runs r ON r.operation_id = o.id JOIN jobs j ON j.id = r.job_id
         WHERE o.status = 'cancelled'`,
      );
      return rows.length > 0 && rows;
    });
    expect(row).toEqual({ state: "CANCELLED", job: "STOPPED", locks: 0, steps: [] });
    await expect(idle.readFile("out/in.csv")).rejects.toThrow("ENOENT");
    await worker.stop();
  } finally {
    await idle.close();
  }
});
