import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Answer,
  type Installation,
  type OperationAnswer,
  openInstallation,
} from "../../support/installation.js";
import { files, ProjectApi, TIMESTAMP } from "../project/support.js";

let gatehouse: Installation;
/** Oldest first: a sync that succeeded, one that failed, a test of a connection. */
let succeeded: OperationAnswer;
let failed: OperationAnswer;

interface Page {
  readonly items: readonly OperationAnswer[];
  readonly nextCursor: string | null;
}

const list = (query = ""): Promise<Answer<Page>> => gatehouse.call<Page>("GET", `/api/v1/operations${query}`);
const idsOf = async (query: string): Promise<string[]> => (await list(query)).body.items.map(({ id }) => id);

beforeAll(async () => {
  gatehouse = await openInstallation();
  await gatehouse.putFile("in.csv", "id\n1\n");
  const api = new ProjectApi(gatehouse);
  const rest = { destination: files("out", "out"), frequency: "", streams_config: {} };
  const good = await api.make("/jobs", { ...rest, name: "good", source: files("in", "in.csv") });
  const bad = await api.make("/jobs", { ...rest, name: "bad", source: files("missing", "missing.csv") });
  succeeded = await api.syncAndWait(good.id);
  failed = await api.syncAndWait(bad.id);
  await api.post("/sources/test", { type: "file", version: "1.0.0", config: { path: "in.csv" } });
});

afterAll(() => gatehouse.close());

test("an operation says what it is about, how it went and who asked", async () => {
  expect(succeeded).toEqual({
    id: expect.any(String),
    operationType: "sync",
    status: "succeeded",
    done: true,
    resource: { type: "run", id: expect.any(String), href: expect.stringMatching(/^\/api\/v1\/job-runs\//) },
    projectId: gatehouse.project.id,
    progress: expect.objectContaining({ percent: 100 }),
    steps: ["copy", "commit"].map((name) => ({
      name,
      status: "succeeded",
      startedAt: TIMESTAMP,
      finishedAt: TIMESTAMP,
      message: null,
    })),
    result: { rows: 1, bytes: expect.any(Number), streams: { in: expect.objectContaining({ rows: 1 }) } },
    error: null,
    createdAt: TIMESTAMP,
    startedAt: TIMESTAMP,
    finishedAt: TIMESTAMP,
    createdBy: { kind: "client", id: expect.any(String), name: "administrator" },
    nextOperationId: null,
  });
  for (const id of [succeeded.id.toUpperCase(), succeeded.id.replaceAll("-", "")]) {
    expect((await gatehouse.call("GET", `/api/v1/operations/${id}`)).body).toEqual(succeeded);
  }
});

test("a failed one says why and where, as a problem", () => {
  expect(failed).toMatchObject({
    status: "failed",
    done: true,
    result: null,
    error: {
      type: "urn:gatehouse:error:not-found",
      title: "Not found at the store",
      status: 404,
      detail: expect.stringContaining('"missing.csv" does not exist'),
      vertex: "source",
      path: "missing.csv",
    },
  });
});

test("one that does not exist is a 404 problem", async () => {
  for (const id of [crypto.randomUUID(), "1", "x"]) {
    const answer = await gatehouse.call("GET", `/api/v1/operations/${id}`);
    expect(answer.status).toBe(404);
    expect(answer.headers["content-type"]).toBe("application/problem+json");
    expect(answer.body).toEqual({
      type: "urn:gatehouse:error:not-found",
      title: "Not Found",
      status: 404,
      detail: "operation not found",
      instance: `/api/v1/operations/${id}`,
      code: "not_found",
      requestId: expect.any(String),
    });
  }
});

test("the list is newest first and filtered by status and type", async () => {
  const all = await idsOf("");
  expect(all).toHaveLength(3);
  expect(all.slice(1)).toEqual([failed.id, succeeded.id]);
  expect(await idsOf("?status=failed")).toEqual([failed.id]);
  expect(await idsOf("?operationType=sync")).toEqual([failed.id, succeeded.id]);
  expect(await idsOf("?operationType=sync&status=succeeded")).toEqual([succeeded.id]);
  expect(await idsOf("?operationType=check")).toEqual(all.slice(0, 1));
  expect(await idsOf("?operationType=unheard-of")).toEqual([]);
  expect((await list("?status=happy")).status).toBe(400);
});

test("the list leaves out a large result, which the operation itself has", async () => {
  const [id = ""] = await idsOf("?status=succeeded&limit=1");
  await gatehouse.database.query(
    "UPDATE operations SET result = (SELECT jsonb_agg(gen_random_uuid()) FROM generate_series(1, 1000)) WHERE id = $1",
    [id],
  );
  const { items } = (await list("?status=succeeded&limit=1")).body;
  expect(items).toMatchObject([{ id, result: null }]);
  const read = await gatehouse.call("GET", `/api/v1/operations/${id}`);
  expect(read.body).toMatchObject({ id, result: { length: 1000 } });
});

test("the list is filtered by resource, project and time", async () => {
  expect(await idsOf(`?resource=${failed.resource.id}`)).toEqual([failed.id]);
  expect(await idsOf(`?project=${crypto.randomUUID()}`)).toEqual([]);
  expect(await idsOf("?since=2020-01-01T00:00:00Z")).toEqual(await idsOf(""));
  expect(await idsOf("?since=2999-01-01T00:00:00Z")).toEqual([]);
  for (const wrong of ["resource=x", "project=x", "since=yesterday"]) {
    expect((await list(`?${wrong}`)).status).toBe(400);
  }
});

test("a job lists the operations of its runs, a run its own, filtered and in pages like all others", async () => {
  const runId = succeeded.resource.id;
  const { jobId } = (await gatehouse.call<{ jobId: string }>("GET", `/api/v1/job-runs/${runId}`)).body;
  const again = await gatehouse.call<OperationAnswer>("POST", `/api/v1/jobs/${jobId}/sync`);
  await gatehouse.waitDone(again.body.id);
  const page = (path: string) => gatehouse.call<Page>("GET", `/api/v1${path}`);
  const ids = async (path: string) => (await page(path)).body.items.map(({ id }) => id);
  const ofJob = `/jobs/${jobId}/operations`;
  const ofRun = `/job-runs/${runId}/operations`;
  expect(await ids(ofJob)).toEqual([again.body.id, succeeded.id]);
  expect(await ids(ofRun)).toEqual([succeeded.id]);
  expect((await page(ofRun)).body.items[0]).toEqual(succeeded);
  const first = (await page(`${ofJob}?limit=1`)).body;
  expect(first.items.map(({ id }) => id)).toEqual([again.body.id]);
  expect(await ids(`${ofJob}?limit=1&cursor=${first.nextCursor}`)).toEqual([succeeded.id]);
  expect(await ids(`${ofJob}?status=failed`)).toEqual([]);
  expect(await ids(`${ofJob}?operationType=sync&since=2020-01-01T00:00:00Z`)).toHaveLength(2);
  expect(await ids(`${ofRun}?since=2999-01-01T00:00:00Z`)).toEqual([]);
  const stranger = await gatehouse.token((await gatehouse.createOrganization()).client);
  const powerless = await gatehouse.token(await gatehouse.createClient({ scopes: ["job:read", "run:read"] }));
  const elsewhere = await gatehouse.token(
    await gatehouse.createClient({ projects: [(await gatehouse.createProject()).id] }),
  );
  for (const path of [ofJob, ofRun]) {
    expect((await page(`${path}?status=happy`)).status).toBe(400);
    expect((await page(`${path}?cursor=x`)).status).toBe(400);
    const statusFor = async (token: string | null): Promise<number> =>
      (await gatehouse.call("GET", `/api/v1${path}`, { token })).status;
    expect(await Promise.all([null, powerless, stranger, elsewhere].map(statusFor))).toEqual([
      401, 403, 404, 404,
    ]);
  }
  for (const id of ["x", crypto.randomUUID()]) {
    expect((await page(`/jobs/${id}/operations`)).status).toBe(404);
    expect((await page(`/job-runs/${id}/operations`)).status).toBe(404);
  }
});

test("pages leave nothing out and show nothing twice", async () => {
  const seen: string[] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const { body }: Answer<Page> = await list(`?limit=1${cursor === "" ? "" : `&cursor=${cursor}`}`);
    seen.push(...body.items.map(({ id }) => id));
    cursor = body.nextCursor;
  }
  expect(seen).toEqual(await idsOf(""));
});
