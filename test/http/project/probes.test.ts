import { afterAll, beforeAll, expect, test } from "vitest";
import { startWorker } from "../../../src/worker.js";
import { type Installation, openInstallation } from "../../support/installation.js";
import { expectFailure, operationOf, ProjectApi } from "./support.js";

const PEOPLE = { type: "file", version: "1.0.0", config: { path: "in/people.csv" } };
const ASYNC = { prefer: "respond-async" };

let gatehouse: Installation;
let api: ProjectApi;
beforeAll(async () => {
  // Without a worker nothing that waits for a store is answered.
  gatehouse = await openInstallation({ worker: false });
  api = new ProjectApi(gatehouse);
  await gatehouse.putFile("in/people.csv", "id,name\n1,Ann\n");
});
afterAll(() => gatehouse.close());

const ask = (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  api.call("POST", path, { body, headers: { ...ASYNC, ...headers } });
const operations = async (): Promise<number> =>
  (await gatehouse.database.query("SELECT 1 FROM operations")).length;

test("a client that prefers respond-async is told at once where a store's answer will be", async () => {
  const nowhere = { ...PEOPLE, config: { path: "out" } };
  const [check, streams, destination] = [
    await ask("/sources/test", PEOPLE),
    await ask("/source/streams", PEOPLE),
    await ask("/destinations/test", nowhere),
  ];
  for (const answer of [check, streams, destination]) {
    expect(answer.text).toBe('{"success":true,"message":"success","data":null}');
    expect(answer).toMatchObject({
      status: 202,
      headers: {
        location: answer.headers["operation-location"],
        "retry-after": expect.stringMatching(/^\d+$/),
        "preference-applied": "respond-async",
      },
    });
    const { body } = await gatehouse.call("GET", String(answer.headers["location"]));
    expect(body).toMatchObject({ status: "pending", result: null });
  }
  const worker = await startWorker(gatehouse.runtime);
  expect(await gatehouse.waitDone(operationOf(check))).toMatchObject({
    ...{ operationType: "check", status: "succeeded" },
    result: { status: "SUCCEEDED" },
  });
  expect(await gatehouse.waitDone(operationOf(streams))).toMatchObject({
    ...{ operationType: "discover", status: "succeeded" },
    result: { streams: [{ name: "people" }] },
  });
  expect(await gatehouse.waitDone(operationOf(destination))).toMatchObject({
    result: { status: "SUCCEEDED" },
  });
  await worker.stop();
});

test("sent twenty times at once under one key it is asked once, and every answer leads to that", async () => {
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

test("what cannot be asked is refused as without the preference, and starts nothing", async () => {
  const before = await operations();
  const key = { "idempotency-key": "no-check" };
  expectFailure(await ask("/sources/test", { ...PEOPLE, config: {} }, key), 400, "Bad request");
  expectFailure(await ask("/sources/test", { ...PEOPLE, type: "nothing" }, key), 400, "Bad request");
  const elsewhere = new ProjectApi(gatehouse, "no-such-project");
  const lost = await elsewhere.call("POST", "/sources/test", { body: PEOPLE, headers: { ...ASYNC, ...key } });
  expectFailure(lost, 404, "Resource not found");
  expect(await operations()).toBe(before);
});
