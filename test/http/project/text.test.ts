import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, openInstallation } from "../../support/installation.js";
import { type Envelope, files, type Numbered, operationOf, ProjectApi, TIMESTAMP } from "./support.js";

let gatehouse: Installation;
let api: ProjectApi;
/** The text's headers: nothing but the bearer token, and a JSON content type whether there is a body or not. */
const JSON_TYPE = { "content-type": "application/json" };

beforeAll(async () => {
  gatehouse = await openInstallation();
  api = new ProjectApi(gatehouse);
  await gatehouse.putFile("in/people.csv", "id,name\n1,Ada\n2,Alan\n");
});

afterAll(() => gatehouse.close());

const source = files("people", "in/people.csv");
const destination = { ...files("copies", "out"), config: '{"path":"out"}' };

/** What the text says of every success. */
function success(data: unknown): Envelope<unknown> {
  return { success: true, message: expect.any(String) as unknown as string, data };
}

describe.each([
  { role: "source", item: source },
  { role: "destination", item: destination },
])("the text's requests for a $role", ({ role, item }) => {
  const path = `/${role}s`;
  const { type, version, config } = item;

  test("GET spec takes its parameters in a JSON body and answers the JSON Schema", async () => {
    const body = { type, version, ...(role === "destination" ? { catalog: "none" } : {}) };
    const answer = await api.call("GET", `${path}/spec`, { body });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(success({ ...body, spec: expect.objectContaining({ type: "object" }) }));
  });

  test("POST test answers what was sent and how it went", async () => {
    const answer = await api.post(`${path}/test`, { type, version, config });
    expect(answer.status).toBe(200);
    const connection_result = { status: "SUCCEEDED", message: expect.any(String) };
    expect(answer.body).toEqual(
      success({ type, version, config, connection_result, logs: expect.any(Array) }),
    );
  });

  test("POST creates it and sends back what was received", async () => {
    const answer = await api.post(path, item);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(success(expect.objectContaining(item)));
  });

  test("GET lists it with who made it, when, and its jobs", async () => {
    const answer = await api.call("GET", path, { headers: JSON_TYPE });
    expect(answer.body).toEqual(
      success([
        {
          ...item,
          id: expect.any(Number),
          created_at: TIMESTAMP,
          updated_at: TIMESTAMP,
          created_by: "administrator",
          updated_by: "administrator",
          jobs: [],
        },
      ]),
    );
  });

  test("PUT replaces it and sends back the same, DELETE answers its name and nothing of it is listed", async () => {
    const { id } = await api.make(path, { ...item, name: "short-lived" });
    const changed = { ...item, name: "renamed" };
    expect((await api.put(`${path}/${id}`, changed)).body).toEqual(success(changed));
    const deleted = await api.call("DELETE", `${path}/${id}`, { headers: JSON_TYPE });
    expect(deleted.body).toEqual(success({ name: "renamed" }));
    expect((await api.get<Numbered[]>(path)).body.data.map(({ name }) => name)).toEqual([item.name]);
  });
});

describe("the text's requests for jobs", () => {
  const job = { name: "copy people", source, destination, frequency: "0 3 * * *", streams_config: {} };
  let id: number;
  let sourceId: number;
  let destinationId: number;

  test("GET source/streams discovers by a JSON body", async () => {
    const { type, version, config } = source;
    const answer = await api.call("GET", "/source/streams", { body: { type, version, config } });
    expect(answer.body).toEqual(
      success({ streams_config: { streams: [expect.objectContaining({ name: "people" })] } }),
    );
  });

  test("POST creates one from a source and a destination inline and sends the request body back as it is", async () => {
    const answer = await api.post<Numbered>("/jobs", job);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(success(expect.objectContaining(job)));
    id = answer.body.data.id;
  });

  test("GET lists it with both ends and its last run", async () => {
    const answer = await api.call<(typeof job & Numbered)[]>("GET", "/jobs", { headers: JSON_TYPE });
    expect(answer.body).toEqual(
      success([
        {
          ...job,
          id,
          activate: true,
          last_run_time: null,
          last_run_state: null,
          created_at: TIMESTAMP,
          updated_at: TIMESTAMP,
          created_by: "administrator",
          updated_by: "administrator",
        },
      ]),
    );
    sourceId = (await api.get<Numbered[]>("/sources")).body.data[0]?.id ?? 0;
    destinationId = (await api.get<Numbered[]>("/destinations")).body.data[0]?.id ?? 0;
  });

  test('the filters answer lists, as ?dest_id=1 and in the odd forms /jobs/dest_id="1" and /jobs/source_id="1"', async () => {
    const lists = [
      `/jobs?dest_id=${destinationId}`,
      `/jobs?source_id=${sourceId}`,
      `/jobs/dest_id="${destinationId}"`,
      `/jobs/source_id="${sourceId}"`,
      `/jobs/source_id=${sourceId}`,
      `/jobs/dest_id=%22${destinationId}%22`,
    ];
    for (const path of lists) {
      expect((await api.get(path)).body, path).toEqual(success([expect.objectContaining({ id })]));
    }
    for (const path of [
      '/jobs/dest_id="2147483647"',
      '/jobs/source_id="2147483647"',
      "/jobs?dest_id=2147483647",
    ]) {
      expect((await api.get(path)).body, path).toEqual(success([]));
    }
    expect((await api.get('/jobs/dest_id="some_id"')).body.message).toBe("Resource not found");
  });

  test("POST sync with an empty body and a JSON content type answers data null and where to look", async () => {
    const answer = await api.call("POST", `/jobs/${id}/sync`, { headers: JSON_TYPE });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ success: true, message: expect.any(String), data: null });
    expect(answer.headers["location"]).toBe(answer.headers["operation-location"]);
    expect(await gatehouse.waitDone(operationOf(answer))).toMatchObject({ status: "succeeded" });
    expect(await gatehouse.readFile("out/people.csv")).toBe("id,name\n1,Ada\n2,Alan\n");
  });

  test("GET tasks shows the run, GET task/:id/logs what it printed", async () => {
    const tasks = await api.call<{ id: string }[]>("GET", `/jobs/${id}/tasks`, { headers: JSON_TYPE });
    expect(tasks.body).toEqual(
      success([
        {
          id: expect.any(String),
          start_time: TIMESTAMP,
          runtime: expect.any(Number),
          status: "completed",
          job_type: "sync",
          file_path: expect.any(String),
        },
      ]),
    );
    const logs = await api.get<{ task_logs: unknown[] }>(`/jobs/${id}/task/${tasks.body.data[0]?.id}/logs`);
    expect(logs.body.data.task_logs.length).toBeGreaterThan(3);
    expect(logs.body.data.task_logs).toContainEqual({
      level: "info",
      time: TIMESTAMP,
      message: expect.stringContaining("2 rows are in place"),
    });
  });

  test("the lists show the last run", async () => {
    const last = { last_run_time: TIMESTAMP, last_run_state: "completed" };
    expect((await api.get("/jobs")).body).toEqual(success([expect.objectContaining(last)]));
    const uses = { id, name: job.name, activate: true, ...last };
    expect((await api.get("/sources")).body).toEqual(
      success([expect.objectContaining({ jobs: [{ ...uses, dest_name: destination.name }] })]),
    );
    expect((await api.get("/destinations")).body).toEqual(
      success([expect.objectContaining({ jobs: [{ ...uses, source_name: source.name }] })]),
    );
  });

  test("POST activate and PUT with activate turn the schedule off and on", async () => {
    const off = await api.post(`/jobs/${id}/activate`, { activate: false });
    expect(off.body).toEqual(success({ activate: false }));
    const changed = { ...job, frequency: "@daily", activate: true };
    expect((await api.put(`/jobs/${id}`, changed)).body).toEqual(success(expect.objectContaining(changed)));
  });

  test("DELETE answers the name", async () => {
    const answer = await api.call("DELETE", `/jobs/${id}`, { headers: JSON_TYPE });
    expect(answer.body).toEqual(success({ name: job.name }));
    expect((await api.get(`/jobs/${id}`)).body.message).toBe("Resource not found");
  });
});

describe("the text's error responses", () => {
  test("say exactly what the text says, with the matching status", async () => {
    const reader = await gatehouse.token(await gatehouse.createClient({ scopes: ["source:read"] }));
    const answers = [
      [400, "Bad request", await api.post("/sources", {})],
      [401, "Authentication required", await api.call("GET", "/sources", { token: null })],
      [403, "Insufficient permissions", await api.call("GET", "/jobs", { token: reader })],
      [404, "Resource not found", await api.get("/sources/999")],
      [404, "Resource not found", await api.get("/no-such-thing")],
    ] as const;
    for (const [status, message, answer] of answers) {
      expect(answer.status).toBe(status);
      expect(answer.body).toMatchObject({ success: false, message });
    }
  });
});
