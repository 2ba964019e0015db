import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startWorker, type WorkerProcess } from "../../../src/worker.js";
import { type Answer, type Installation, openInstallation } from "../../support/installation.js";
import { until } from "../../support/until.js";
import { type Envelope, expectFailure, operationOf, ProjectApi } from "./support.js";

const PEOPLE = { type: "file", version: "1.0.0", config: { path: "in/people.csv" } };
const ASYNC = { prefer: "respond-async" };

let gatehouse: Installation;
let api: ProjectApi;
beforeAll(async () => {
  gatehouse = await openInstallation({ worker: false });
  api = new ProjectApi(gatehouse);
  await gatehouse.putFile("in/people.csv", "id,name\n1,Ann\n");
});
afterAll(() => gatehouse.close());

const ask = (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  api.call<Readonly<Record<string, unknown>> | null>("POST", path, {
    body,
    headers: { ...ASYNC, ...headers },
  });
const operations = async (): Promise<number> =>
  (await gatehouse.database.query("SELECT 1 FROM operations")).length;

function expectAccepted(answer: Answer<Envelope<unknown>>): void {
  expect(answer.text).toBe('{"success":true,"message":"success","data":null}');
  expect(answer).toMatchObject({
    status: 202,
    headers: {
      location: answer.headers["operation-location"],
      "retry-after": expect.stringMatching(/^\d+$/),
      "preference-applied": expect.stringMatching(/^respond-async/),
    },
  });
}

describe("while no worker is there, a client that prefers respond-async", () => {
  test("is told at once where a store's answer will be, with wait=N after that time", async () => {
    for (const path of ["/sources/test", "/destinations/test", "/source/streams"]) {
      const answer = await ask(path, PEOPLE);
      expectAccepted(answer);
      const { body } = await gatehouse.call("GET", String(answer.headers["location"]));
      expect(body).toMatchObject({ status: "pending", result: null });
    }
    const late = await ask("/sources/test", PEOPLE, { prefer: "respond-async, wait=1" });
    expectAccepted(late);
    expect(late.headers["preference-applied"]).toBe("respond-async, wait=1");
  });

  test("has a store asked once under one key, though it sends that twenty times at once", async () => {
    const before = await operations();
    const key = { "idempotency-key": "one-check" };
    const all = await Promise.all(Array.from({ length: 20 }, () => ask("/sources/test", PEOPLE, key)));
    for (const { status } of all) expect([202, 409]).toContain(status);
    const again = await Promise.all(all.map(() => ask("/sources/test", PEOPLE, key)));
    for (const { headers } of again) expect(headers["idempotent-replayed"]).toBe("true");
    const accepted = [...all.filter(({ status }) => status === 202), ...again];
    expect(new Set(accepted.map(operationOf)).size).toBe(1);
    expect(await operations()).toBe(before + 1);
  });

  test("is refused what cannot be asked, as without the preference, and nothing is started", async () => {
    const before = await operations();
    const key = { "idempotency-key": "no-check" };
    expectFailure(await ask("/sources/test", { ...PEOPLE, config: {} }, key), 400, "Bad request");
    expectFailure(await ask("/sources/test", { ...PEOPLE, type: "nothing" }, key), 400, "Bad request");
    const elsewhere = new ProjectApi(gatehouse, "no-such-project");
    const lost = await elsewhere.call("POST", "/sources/test", {
      body: PEOPLE,
      headers: { ...ASYNC, ...key },
    });
    expectFailure(lost, 404, "Resource not found");
    expect(await operations()).toBe(before);
  });

  test("takes a slot of its organization for each, and who waits in a request takes none", async () => {
    const { id, client, project } = await gatehouse.createOrganization();
    await gatehouse.database.query("UPDATE organizations SET concurrency = 1 WHERE id = $1", [id]);
    const theirs = { token: await gatehouse.token(client), body: PEOPLE };
    const path = `/api/v1/project/${project.slug}/sources/test`;
    const sent = [
      operationOf(await gatehouse.call("POST", path, { ...theirs, headers: ASYNC })),
      operationOf(await gatehouse.call("POST", path, { ...theirs, headers: ASYNC })),
    ];
    const waiting = gatehouse.call("POST", path, theirs);
    const awaited = async (): Promise<string | undefined> =>
      (
        await gatehouse.database.query<{ id: string }>(
          "SELECT id FROM operations WHERE organization_id = $1 AND NOT id = ANY ($2)",
          [id, sent],
        )
      )[0]?.id;
    await until("the request waits", async () => (await awaited()) !== undefined);
    const claim = async (of: string | undefined): Promise<boolean> =>
      (await gatehouse.runtime.ledger.claim(of ?? "", "a worker", 60_000)) !== null;
    expect(await claim(sent[0])).toBe(true);
    expect(await claim(sent[1])).toBe(false);
    expect(await claim(await awaited())).toBe(true);
    const result = { status: "SUCCEEDED", message: "by hand", logs: [] };
    await gatehouse.runtime.ledger.finish((await awaited()) ?? "", 1, { status: "succeeded", result });
    expect((await waiting).text).toContain("by hand");
  });
});

describe("where a worker is there, a client that prefers respond-async", () => {
  let worker: WorkerProcess;
  beforeAll(async () => {
    worker = await startWorker(gatehouse.runtime);
  });
  afterAll(() => worker.stop());

  const result = async (answer: Answer<unknown>) => gatehouse.waitDone(operationOf(answer));

  test("finds a store's answer in the operation", async () => {
    expect(await result(await ask("/sources/test", PEOPLE))).toMatchObject({
      ...{
        operationType: "check",
        status: "succeeded",
        result: { status: "SUCCEEDED", logs: [{ message: "connection succeeded" }] },
      },
    });
    const streams = await result(await ask("/sources/streams", PEOPLE));
    expect(streams).toMatchObject({
      ...{ operationType: "discover", status: "succeeded", result: { streams: [{ name: "people" }] } },
    });
  });

  test("gets the answer itself where it comes within wait=N", async () => {
    const answer = await ask("/sources/test", PEOPLE, { prefer: "respond-async, wait=30" });
    expect(answer).toMatchObject({
      status: 200,
      headers: { "preference-applied": "respond-async, wait=30" },
      body: { data: { connection_result: { status: "SUCCEEDED" } } },
    });
    expect(await result(answer)).toMatchObject({ status: "succeeded" });
  });

  test("reads in the operation why a store could not be read", async () => {
    const nothing = { ...PEOPLE, config: { path: "in/nothing.csv" } };
    expect(await result(await ask("/sources/test", nothing))).toMatchObject({
      ...{ status: "succeeded", result: { status: "FAILED" } },
    });
    const { status, error } = await result(await ask("/source/streams", nothing));
    expect(status).toBe("failed");
    expect(error?.detail).toContain("in/nothing.csv");
  });
});
