import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Answer, type Installation, openInstallation } from "../../support/installation.js";
import { until } from "../../support/until.js";
import {
  createStore,
  type Envelope,
  expectFailure,
  files,
  holdTable,
  operationOf,
  ProjectApi,
  type Store,
  TIMESTAMP,
} from "./support.js";

let gatehouse: Installation;
let api: ProjectApi;
let store: Store;

beforeAll(async () => {
  gatehouse = await openInstallation();
  api = new ProjectApi(gatehouse);
  store = await createStore();
  await store.query("CREATE TABLE slow AS SELECT n AS id FROM generate_series(1, 3) n");
  await gatehouse.putFile("in/a.csv", "id\n1\n");
  await gatehouse.putFile("in/b.csv", "id\n2\n3\n");
});

afterAll(async () => {
  await gatehouse.close();
  await store.drop();
});

interface Task {
  readonly id: string;
  readonly status: string;
  readonly runtime: number;
}

interface LogPage {
  readonly logs: readonly { readonly level: string; readonly time: string; readonly message: string }[];
  readonly older_cursor: string | null;
  readonly newer_cursor: string | null;
  readonly has_more_older: boolean;
  readonly has_more_newer: boolean;
}

let made = 0;

async function makeJob(changes: object = {}): Promise<number> {
  made += 1;
  const body = {
    name: `job ${made}`,
    source: files(`source ${made}`, "in/a.csv"),
    destination: files(`destination ${made}`, `out/${made}`),
    frequency: "",
    streams_config: {},
    ...changes,
  };
  return (await api.make("/jobs", body)).id;
}

/** A job whose run waits at the table `slow` while somebody holds it. */
function makeSlowJob(): Promise<number> {
  made += 1;
  const source = { name: `slow ${made}`, type: "postgres", version: "1.0.0", config: store.config };
  return makeJob({ source });
}

const tasksOf = async (id: number, query = ""): Promise<Answer<Envelope<Task[]>>> =>
  api.get<Task[]>(`/jobs/${id}/tasks${query}`);

describe("a sync", () => {
  test("with what discovery answered as streams_config copies every stream", async () => {
    const source = files("folder", "in");
    const { type, version, config } = source;
    const found = await api.post<{ streams_config: object }>("/source/streams", { type, version, config });
    const { streams_config } = found.body.data;
    const id = await makeJob({ source, destination: files("all", "out/all"), streams_config });
    expect(await api.syncAndWait(id)).toMatchObject({ status: "succeeded", result: { rows: 3 } });
    expect(await gatehouse.readFile("out/all/a.csv")).toBe("id\n1\n");
    expect(await gatehouse.readFile("out/all/b.csv")).toBe("id\n2\n3\n");
  });

  test("tells how much of its files is done, by their sizes", async () => {
    await gatehouse.putFile("halves/a.csv", `id\n${"1\n".repeat(20_000)}`);
    await gatehouse.putFile("halves/b.csv", `id\n${"1\n".repeat(20_000)}no number\n`);
    const id = await makeJob({ source: files("halves", "halves") });
    const operationId = await api.sync(id);
    expect(await gatehouse.waitDone(operationId)).toMatchObject({
      status: "failed",
      error: { vertex: "source", stream: "b", line: 20_002, column: "id" },
      progress: { percent: expect.toSatisfy((percent) => percent >= 49 && percent < 100) },
    });
  });

  test("copies the selected streams alone", async () => {
    const streams_config = { streams: [{ name: "a", selected: false }, { name: "b" }] };
    const id = await makeJob({ source: files("some of folder", "in"), streams_config });
    expect(await api.syncAndWait(id)).toMatchObject({
      status: "succeeded",
      result: { streams: { b: { rows: 2 } } },
    });
    expect((await api.syncAndWait(id)).result).not.toHaveProperty("streams.a");
  });

  test("of a stream that does not exist fails and says so", async () => {
    const id = await makeJob({ streams_config: { streams: [{ name: "nope" }] } });
    const { status, error } = await api.syncAndWait(id);
    expect(status).toBe("failed");
    expect(error).toMatchObject({ vertex: "source", stream: "nope" });
    expect((await tasksOf(id)).body.data).toMatchObject([{ status: "failed" }]);
  });

  test("while one runs is a 409 with that run's operation, as is the job's deletion; then both work", async () => {
    const id = await makeSlowJob();
    const release = await holdTable(store, "slow");
    const operationId = await api.sync(id);
    const again = await api.post(`/jobs/${id}/sync`);
    expectFailure(again, 409, new RegExp(`operation ${operationId} \\(sync\\) is still running`));
    expect(again.body.error).toMatchObject({ code: "conflict", operationId });
    const deletion = await api.delete(`/jobs/${id}`);
    expectFailure(deletion, 409, new RegExp(operationId));
    expect(deletion.body.error).toMatchObject({ operationId });
    expect((await tasksOf(id)).body.data).toMatchObject([{ status: "running" }]);
    await release();
    expect(await gatehouse.waitDone(operationId)).toMatchObject({ status: "succeeded", result: { rows: 3 } });
    expect((await tasksOf(id)).body.data).toMatchObject([{ status: "completed" }]);
    await api.syncAndWait(id);
    expect((await api.delete(`/jobs/${id}`)).status).toBe(200);
  });

  test("asked for twenty times at once starts one run", async () => {
    const id = await makeSlowJob();
    const release = await holdTable(store, "slow");
    const answers = await Promise.all(Array.from({ length: 20 }, () => api.post(`/jobs/${id}/sync`)));
    const accepted = answers.filter(({ status }) => status === 200);
    expect(accepted).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(19);
    await release();
    const [first] = accepted;
    if (first !== undefined) await gatehouse.waitDone(operationOf(first));
    expect((await tasksOf(id)).body.data).toHaveLength(1);
  });

  test("asked for while a PUT is about to commit is accepted, and uses the new version", async () => {
    const id = await makeSlowJob();
    const { database } = gatehouse;
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query("BEGIN");
    await holder.query(
      `INSERT INTO job_versions (job_id, version, graph, presentation, created_by)
       SELECT job_id, v.version + 1, graph, presentation, v.created_by FROM job_versions v
       JOIN jobs j ON j.id = v.job_id AND j.version = v.version WHERE j.number = $1`,
      [id],
    );
    await holder.query("UPDATE jobs SET version = version + 1 WHERE number = $1", [id]);
    const asked = api.post(`/jobs/${id}/sync`);
    await until("it waits for the job", async () => {
      const waiting =
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM jobs%'";
      return (await database.query(waiting)).length > 0;
    });
    await holder.query("COMMIT");
    await holder.end();
    const answer = await asked;
    expect(answer.status, answer.text).toBe(200);
    await gatehouse.waitDone(operationOf(answer));
    const versions =
      "SELECT r.job_version, j.version FROM runs r JOIN jobs j ON j.id = r.job_id WHERE j.number = $1";
    const [run] = await database.query<{ job_version: number; version: number }>(versions, [id]);
    expect(run?.job_version).toBe(run?.version);
  });

  test("uses the job's version of its start: a PUT meanwhile changes the next run", async () => {
    const id = await makeSlowJob();
    const release = await holdTable(store, "slow");
    const operationId = await api.sync(id);
    const before = (await api.get<{ source: object; name: string }>(`/jobs/${id}`)).body.data;
    const put = await api.put(`/jobs/${id}`, { ...before, destination: files("later", "out/later") });
    expect(put.status, put.text).toBe(200);
    await release();
    await gatehouse.waitDone(operationId);
    await expect(gatehouse.readFile("out/later/slow.csv")).rejects.toThrow("ENOENT");
    await api.syncAndWait(id);
    expect(await gatehouse.readFile("out/later/slow.csv")).toBe("id\n1\n2\n3\n");
  });
});

test("tasks are listed newest first, in pages by limit and cursor with a Link", async () => {
  const id = await makeJob();
  const runs: string[] = [];
  for (let run = 1; run <= 3; run++) runs.unshift((await api.syncAndWait(id)).resource.id);
  expect((await tasksOf(id)).body.data.map((task) => task.id)).toEqual(runs);
  const seen: string[] = [];
  let url: string | undefined = `/api/v1/project/default/jobs/${id}/tasks?limit=2`;
  while (url !== undefined) {
    const answer: Answer<Envelope<Task[]>> = await gatehouse.call("GET", url);
    seen.push(...answer.body.data.map((task) => task.id));
    url = /^<(.*)>; rel="next"$/.exec(String(answer.headers["link"]))?.[1];
  }
  expect(seen).toEqual(runs);
  expectFailure(await tasksOf(2_147_483_647), 404, "Resource not found");
});

describe("logs of a task", () => {
  test("are read from the newest line back, and from the oldest on, without a gap", async () => {
    const id = await makeJob();
    const task = (await api.syncAndWait(id)).resource.id;
    const whole = await api.get<{ task_logs: LogPage["logs"] }>(`/jobs/${id}/task/${task}/logs`);
    const lines = whole.body.data.task_logs;
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines)
      expect(line).toEqual({ level: "info", time: TIMESTAMP, message: expect.any(String) });
    for (const [direction, method] of [
      ["older", "GET"],
      ["newer", "POST"],
    ] as const) {
      const pages: LogPage[] = [];
      let cursor = "";
      do {
        const query = `limit=2&direction=${direction}${cursor === "" ? "" : `&cursor=${cursor}`}`;
        const { body } = await api.call<LogPage>(method, `/jobs/${id}/tasks/${task}/logs?${query}`);
        pages.push(body.data);
        cursor = (direction === "older" ? body.data.older_cursor : body.data.newer_cursor) ?? "";
      } while (direction === "older" ? pages.at(-1)?.has_more_older : pages.at(-1)?.has_more_newer);
      expect(pages[0]).toMatchObject(
        direction === "older" ? { has_more_newer: false } : { has_more_older: false },
      );
      if (direction === "older") pages.reverse();
      expect(pages.flatMap(({ logs }) => logs)).toEqual(lines);
    }
  });

  test("are followed while the run goes on: the newer cursor is never lost", async () => {
    const id = await makeSlowJob();
    const release = await holdTable(store, "slow");
    const operationId = await api.sync(id);
    const task = (await tasksOf(id)).body.data[0]?.id;
    const read = async (cursor: string | null): Promise<LogPage> => {
      const query = cursor === null ? "direction=newer" : `direction=newer&cursor=${cursor}`;
      return (await api.get<LogPage>(`/jobs/${id}/tasks/${task}/logs?${query}`)).body.data;
    };
    const first = await until("the run waits at the table", async () => {
      const page = await read(null);
      return page.logs.some(({ message }) => message.includes("reading slow")) ? page : null;
    });
    const nothingNew = await read(first.newer_cursor);
    expect(nothingNew).toMatchObject({ logs: [], newer_cursor: first.newer_cursor, has_more_newer: false });
    await release();
    await gatehouse.waitDone(operationId);
    const rest = await read(nothingNew.newer_cursor);
    expect(rest.logs.at(-1)?.message).toContain("3 rows are in place");
    const all = await read(null);
    expect([...first.logs, ...rest.logs]).toEqual(all.logs);
  });

  test("of another job, or of nothing, are a 404", async () => {
    const [id, other] = [await makeJob(), await makeJob()];
    const task = (await api.syncAndWait(id)).resource.id;
    for (const path of [
      `/jobs/${other}/task/${task}/logs`,
      `/jobs/${other}/tasks/${task}/logs`,
      `/jobs/${id}/task/${crypto.randomUUID()}/logs`,
      `/jobs/${id}/tasks/1/logs`,
    ]) {
      expectFailure(await api.get(path), 404, "Resource not found");
    }
  });
});
