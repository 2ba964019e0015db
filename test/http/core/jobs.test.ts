import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Answer,
  type Installation,
  type OperationAnswer,
  openInstallation,
} from "../../support/installation.js";
import { until } from "../../support/until.js";
import { createStore, files, holdTable, ProjectApi, type Store, TIMESTAMP } from "../project/support.js";

let gatehouse: Installation;
let store: Store;
/** Two jobs of the default project, oldest first: one that copies a file, one that waits at a table. */
let copy: Job;
let slow: Job;

interface Job {
  readonly id: string;
  readonly number: number;
  readonly state: string;
  readonly currentOperationId: string | null;
}

interface Page<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}

const UUID = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);

const get = <T = unknown>(path: string): Promise<Answer<T>> => gatehouse.call<T>("GET", `/api/v1${path}`);
const sync = (id: string): Promise<Answer<OperationAnswer>> =>
  gatehouse.call("POST", `/api/v1/jobs/${id}/sync`);

beforeAll(async () => {
  gatehouse = await openInstallation();
  store = await createStore();
  await store.query("CREATE TABLE slow AS SELECT n AS id FROM generate_series(1, 3) n");
  await gatehouse.putFile("in.csv", "id,name\n1,Ada\n2,Alan\n");
  const api = new ProjectApi(gatehouse);
  const postgres = { name: "store", type: "postgres", version: "1.0.0", config: store.config };
  const rest = { destination: files("out", "out"), frequency: "@daily", streams_config: {} };
  await api.make("/jobs", { ...rest, name: "copy", source: files("in", "in.csv") });
  await api.make("/jobs", { ...rest, name: "slow", source: postgres });
  const { items } = (await get<Page<Job>>("/jobs")).body;
  const [first, second] = items;
  if (first === undefined || second === undefined) throw new Error("two jobs were made");
  [copy, slow] = [first, second];
});

afterAll(async () => {
  await gatehouse.close();
  await store.drop();
});

describe("the text's requests", () => {
  test("get a token by JSON with the audience service, and list jobs with it, as they stand there", async () => {
    const { clientId, clientSecret } = await gatehouse.createClient();
    const credentials = { client_id: clientId, client_secret: clientSecret };
    const body = { ...credentials, audience: "service", grant_type: "client_credentials" };
    const token = await gatehouse.call<{ access_token: string }>("POST", "/oauth/token", {
      token: null,
      body,
    });
    expect(token.body).toEqual({
      access_token: expect.any(String),
      token_type: "Bearer",
      expires_in: 86_400,
      scope: "service",
    });
    await gatehouse.database.query("UPDATE jobs SET processing = 'STREAMING' WHERE id = $1", [slow.id]);
    try {
      const answer = await gatehouse.call("GET", "/api/v1/jobs?processing=STREAMING&execution=ASYNCHRONOUS", {
        token: token.body.access_token,
        headers: { "content-type": "application/json" },
      });
      expect(answer.status).toBe(200);
      expect(answer.body).toEqual({
        items: [
          {
            id: slow.id,
            number: slow.number,
            name: "slow",
            version: 0,
            organizationId: gatehouse.organizationId,
            projectId: gatehouse.project.id,
            execution: "ASYNCHRONOUS",
            processing: "STREAMING",
            state: "PENDING",
            desiredState: "RUNNING",
            jobGraph: {
              vertices: [
                { name: "source", type: "source", sourceId: UUID, streams: null },
                { name: "destination", type: "destination", destinationId: UUID },
              ],
              edges: [{ from: "source", to: "destination" }],
            },
            schedule: "@daily",
            timeZone: "UTC",
            overlap: "skip",
            scheduleActive: true,
            nextRunAt: expect.stringMatching(/T00:00:00.000Z$/),
            queuedAt: null,
            lastSkippedAt: null,
            tags: { createdUsing: "API", createdByUser: "administrator" },
            currentOperationId: null,
            createdAt: TIMESTAMP,
            updatedAt: TIMESTAMP,
          },
        ],
        nextCursor: null,
      });
    } finally {
      await gatehouse.database.query("UPDATE jobs SET processing = 'BATCH' WHERE id = $1", [slow.id]);
    }
  });
});

describe("jobs", () => {
  test.each([
    ["processing=BATCH", ["copy", "slow"]],
    ["processing=STREAMING", []],
    ["execution=SYNCHRONOUS", []],
    ["state=PENDING", ["copy", "slow"]],
    ["state=RUNNING", []],
    ["tag=createdUsing:API", ["copy", "slow"]],
    ["tag=createdUsing:API&tag=createdByUser:administrator", ["copy", "slow"]],
    ["tag=createdUsing:API&tag=createdByUser:nobody", []],
    ["tag=createdUsing:nothing&tag=createdUsing:API", []],
    ["tag=created.using:API", []],
    ["limit=1", ["copy"]],
  ])("are listed by %s", async (query, names) => {
    const { body } = await get<Page<{ name: string }>>(`/jobs?${query}`);
    expect(body.items.map(({ name }) => name)).toEqual(names);
  });

  test("are listed in pages that leave nothing out and show nothing twice", async () => {
    const first = (await get<Page<Job>>("/jobs?limit=1")).body;
    const second = (await get<Page<Job>>(`/jobs?limit=1&cursor=${first.nextCursor}`)).body;
    expect([...first.items, ...second.items].map(({ id }) => id)).toEqual([copy.id, slow.id]);
    expect(second.nextCursor).toBeNull();
  });

  test("are read by id with and without dashes; a wrong filter is a 400 that names it", async () => {
    for (const id of [copy.id, copy.id.toUpperCase(), copy.id.replaceAll("-", "")]) {
      expect((await get(`/jobs/${id}`)).body).toEqual(copy);
    }
    for (const id of [crypto.randomUUID(), "1", "x"]) expect((await get(`/jobs/${id}`)).status).toBe(404);
    for (const [query, path] of [
      ["processing=WEEKLY", "/query/processing"],
      ["state=HAPPY", "/query/state"],
      ["limit=201", "/query/limit"],
      ["tag=x", "/query/tag"],
    ]) {
      const answer = await get<{ errors: { path: string }[] }>(`/jobs?${query}`);
      expect(answer.status).toBe(400);
      expect(answer.body.errors.map((error) => error.path)).toEqual([path]);
    }
  });
});

describe("a sync", () => {
  test("is a 202 with the operation as body, and where to poll it; a second one a 409 that names it", async () => {
    const release = await holdTable(store, "slow");
    const answer = await sync(slow.id);
    expect(answer.status).toBe(202);
    const href = `/api/v1/operations/${answer.body.id}`;
    expect(answer.headers).toMatchObject({ location: href, "operation-location": href, "retry-after": "1" });
    expect(answer.body).toMatchObject({
      operationType: "sync",
      status: "pending",
      done: false,
      result: null,
    });
    const again = await sync(slow.id);
    expect(again.status).toBe(409);
    expect(again.headers["content-type"]).toContain("application/problem+json");
    expect(again.body).toMatchObject({ code: "conflict", status: 409, operationId: answer.body.id });
    expect((await get<Job>(`/jobs/${slow.id}`)).body).toMatchObject({
      state: "RUNNING",
      currentOperationId: answer.body.id,
    });
    expect((await get<Page<Job>>("/jobs?state=RUNNING")).body.items.map(({ id }) => id)).toEqual([slow.id]);
    const polled = await get(href.replace("/api/v1", ""));
    expect(polled.headers["retry-after"]).toBe("1");
    await release();
    expect(await gatehouse.waitDone(answer.body.id)).toMatchObject({ status: "succeeded", error: null });
    expect((await get(href.replace("/api/v1", ""))).headers["retry-after"]).toBeUndefined();
    expect((await get<Job>(`/jobs/${slow.id}`)).body).toMatchObject({
      state: "FINISHED",
      currentOperationId: null,
    });
  });

  test("leaves a run with steps and their logs to read", async () => {
    const operation = await gatehouse.waitDone((await sync(copy.id)).body.id);
    const runId = operation.resource.id;
    expect(operation.resource).toEqual({ type: "run", id: runId, href: `/api/v1/job-runs/${runId}` });
    const run = {
      id: runId,
      jobId: copy.id,
      jobVersion: 0,
      number: 1,
      state: "FINISHED",
      trigger: "api",
      operationId: operation.id,
      rows: 2,
      bytes: expect.any(Number),
      error: null,
      createdAt: TIMESTAMP,
      startedAt: TIMESTAMP,
      endedAt: TIMESTAMP,
    };
    const step = {
      state: "SUCCEEDED",
      rows: 2,
      bytes: expect.any(Number),
      exitCode: null,
      error: null,
      startedAt: TIMESTAMP,
      endedAt: TIMESTAMP,
    };
    const steps = [
      { ...step, name: "source", type: "source", dependsOn: [] },
      { ...step, name: "destination", type: "destination", dependsOn: ["source"] },
    ];
    expect((await get(`/job-runs/${runId}`)).body).toEqual({ ...run, steps });
    expect((await get(`/job-runs/${runId}/steps`)).body).toEqual({ items: steps });
    expect((await get(`/job-runs/${runId}/steps/source`)).body).toEqual(steps[0]);
    expect((await get(`/jobs/${copy.id}/runs`)).body).toEqual({ items: [run], nextCursor: null });
    const logs = await get<Page<{ step: string }>>(`/job-runs/${runId}/steps/destination/logs?limit=1`);
    expect(logs.body).toEqual({
      items: [{ step: "destination", level: "info", time: TIMESTAMP, message: expect.any(String) }],
      olderCursor: null,
      newerCursor: expect.any(String),
      hasOlder: false,
      hasNewer: true,
    });
    for (const path of [
      `/job-runs/${crypto.randomUUID()}`,
      `/job-runs/${runId}/steps/nope`,
      `/job-runs/${runId}/steps/nope/logs`,
      `/jobs/${crypto.randomUUID()}/runs`,
    ]) {
      expect((await get(path)).status, path).toBe(404);
    }
  });

  test("of a job that does not exist is a 404", async () => {
    for (const id of [crypto.randomUUID(), "1"]) expect((await sync(id)).status).toBe(404);
  });
});

test("runs of a job are listed newest first, in pages", async () => {
  while (((await get<Page<object>>(`/jobs/${copy.id}/runs`)).body.items.length ?? 0) < 3) {
    await gatehouse.waitDone((await sync(copy.id)).body.id);
  }
  const first = (await get<Page<{ number: number }>>(`/jobs/${copy.id}/runs?limit=2`)).body;
  const path = `/jobs/${copy.id}/runs?limit=2&cursor=${first.nextCursor}`;
  const second = (await get<Page<{ number: number }>>(path)).body;
  expect(first.items.map(({ number }) => number)).toEqual([3, 2]);
  expect(second.items.map(({ number }) => number)).toEqual([1]);
  expect(second.nextCursor).toBeNull();
});

test("a list of jobs reads one run and one version of each, however many there were", async () => {
  const { database } = gatehouse;
  const MANY = 5_000;
  await database.query(
    `INSERT INTO runs (id, organization_id, project_id, job_id, job_version, number, operation_id)
     SELECT gen_random_uuid(), organization_id, project_id, id, 0, -n, gen_random_uuid()
     FROM jobs, generate_series(1, $2::int) n WHERE id = $1`,
    [copy.id, MANY],
  );
  await database.query(
    `INSERT INTO job_versions (job_id, version, graph, created_by)
     SELECT $1, -n, '{"vertices": [], "edges": []}', 'test' FROM generate_series(1, $2::int) n`,
    [copy.id, MANY],
  );
  await database.query("ANALYZE runs, job_versions");
  const fetched = async (table: string): Promise<number> => {
    const [row] = await database.query<{ rows: number }>(
      "SELECT (seq_tup_read + idx_tup_fetch)::int AS rows FROM pg_stat_user_tables WHERE relname = $1",
      [table],
    );
    return row?.rows ?? 0;
  };
  for (const table of ["runs", "job_versions"]) {
    const before = await fetched(table);
    // The server counts at its leisure.
    await until(`the reads of ${table} are counted`, async () => {
      expect((await get<Page<Job>>("/jobs")).body.items).toHaveLength(2);
      return (await fetched(table)) > before;
    });
    expect((await fetched(table)) - before).toBeLessThan(MANY);
  }
});
