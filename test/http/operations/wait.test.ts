import { once } from "node:events";
import Fastify from "fastify";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { waitAsPreferred } from "../../../src/http/prefer.js";
import { Waiters } from "../../../src/operations/waiters.js";
import { newId } from "../../../src/platform/ids.js";
import { until } from "../../support/until.js";
import { type OperationsBench, openOperations } from "./support.js";

let bench: OperationsBench;
beforeAll(async () => {
  bench = await openOperations();
});
afterAll(() => bench.close());

const prefer = (value: string) => ({ headers: { prefer: value } });

test("Prefer: wait answers a poll as soon as the operation is done", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  const [waiting, other] = [
    bench.read(id, prefer("respond-async, Wait=50")),
    bench.read(id, prefer("wait=50")),
  ];
  await bench.atTable(id);
  await release();
  const answers = await Promise.all([waiting, other]);
  for (const answer of answers) {
    expect(answer.status).toBe(200);
    expect(answer.headers["preference-applied"]).toBe("wait=50");
    expect(answer.headers["retry-after"]).toBeUndefined();
    expect(answer.body).toMatchObject({ id, status: "succeeded", done: true, progress: { secondsLeft: 0 } });
  }
});

test("where time is up the present state is answered, with when to look again", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const begun = performance.now();
  const answer = await bench.sync(job, prefer("wait=1"));
  expect(performance.now() - begun).toBeGreaterThan(990);
  expect(answer.status).toBe(202);
  expect(answer.headers).toMatchObject({
    "preference-applied": "wait=1",
    location: `/api/v1/operations/${answer.body.id}`,
    "retry-after": expect.stringMatching(/^\d+$/),
  });
  expect(answer.body.done).toBe(false);
  expect((await bench.read(answer.body.id, prefer("wait=0"))).headers["preference-applied"]).toBe("wait=0");
  await release();
  await bench.gatehouse.waitDone(answer.body.id);
});

test("it is the state at that time, not the one from before the wait", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  await bench.atTable(id);
  const waiting = bench.read(id, prefer("wait=2"));
  const { metrics } = bench.gatehouse.runtime;
  const waiters = () => metrics.getSingleMetricAsString("gatehouse_waiters");
  await until("it waits", async () => (await waiters()).endsWith("gatehouse_waiters 1"));
  const nextOperationId = newId();
  await bench.gatehouse.database.query("UPDATE operations SET next_operation_id = $2 WHERE id = $1", [
    id,
    nextOperationId,
  ]);
  expect((await waiting).body).toMatchObject({ status: "running", done: false, nextOperationId });
  await release();
  await bench.gatehouse.waitDone(id);
});

test("every 202 heeds it: a sync is answered with its end", async () => {
  const job = await bench.quickJob();
  const answer = await bench.sync(job, prefer('wait="30"'));
  expect(answer.status).toBe(202);
  expect(answer.body).toMatchObject({ status: "succeeded", done: true });
  const again = await bench.api.call("POST", `/jobs/${job.number}/sync`, prefer("wait=30"));
  expect(again.text).toBe('{"success":true,"message":"success","data":null}');
  expect(again.headers["preference-applied"]).toBe("wait=30");
  const href = String(again.headers["location"]);
  expect((await bench.gatehouse.call<{ done: boolean }>("GET", href)).body.done).toBe(true);
});

test.each([
  ...["wait=-1", "wait=soon", "wait", 'wait=""', "return=minimal", ""],
  ...['foo="a, wait=5, b"', "wait=soon, wait=5"],
])("%j is no wait: it is answered at once", async (value) => {
  const { id } = (await bench.sync(await bench.quickJob())).body;
  const answer = await bench.read(id, prefer(value));
  expect(answer.status).toBe(200);
  expect(answer.headers["preference-applied"]).toBeUndefined();
  await bench.gatehouse.waitDone(id);
});

test("more than a minute is cut to a minute, and said", async () => {
  const { id } = (await bench.sync(await bench.quickJob())).body;
  await bench.gatehouse.waitDone(id);
  for (const value of ["wait=3600", "wait=99999999999", `wait=${"9".repeat(400)}`]) {
    expect((await bench.read(id, prefer(value))).headers["preference-applied"]).toBe("wait=60");
  }
});

test("where too many wait already, who comes is answered at once, and polls", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  const full = vi.spyOn(Waiters.prototype, "isFullFor").mockReturnValue(true);
  try {
    const answer = await bench.read(id, prefer("wait=50"));
    expect(answer.status).toBe(200);
    expect(answer.body.done).toBe(false);
    expect(answer.headers["preference-applied"]).toBeUndefined();
    expect(answer.headers["retry-after"]).toMatch(/^\d+$/);
    const stream = await bench.gatehouse.call("GET", `/api/v1/operations/${id}/events`);
    expect(stream.status).toBe(503);
    expect(stream.headers["retry-after"]).toBe("5");
    expect(stream.body).toMatchObject({ code: "unavailable", detail: expect.stringContaining("poll") });
    expect((await bench.gatehouse.call("HEAD", `/api/v1/operations/${id}/events`)).status).toBe(503);
  } finally {
    full.mockRestore();
  }
  await release();
  await bench.gatehouse.waitDone(id);
});

test("a client that goes away waits no longer", async () => {
  const { runtime, organizationId } = bench.gatehouse;
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  const operation = await runtime.ledger.read(id, { organizationId, projects: null });
  if (operation === null) throw new Error("it was accepted");
  const waiters = new Waiters(runtime.db, runtime.signals);
  const app = Fastify();
  app.get("/", async (request, reply) =>
    waitAsPreferred({ waiters, ledger: runtime.ledger }, request, reply, operation),
  );
  let [begun, answered] = [false, false];
  app.get("/late", async (request, reply) => {
    begun = true;
    await once(reply.raw, "close");
    await waitAsPreferred({ waiters, ledger: runtime.ledger }, request, reply, operation);
    answered = true;
  });
  const origin = await app.listen({ port: 0, host: "127.0.0.1" });
  const closed = new AbortController();
  const gone = fetch(origin, { ...prefer("wait=60"), signal: closed.signal }).catch(() => "gone");
  await until("it waits", () => waiters.count === 1);
  closed.abort();
  expect(await gone).toBe("gone");
  await until("nobody waits", () => waiters.count === 0);
  // One that went before it came to that, while the operation was accepted, does not begin to.
  const early = new AbortController();
  const before = fetch(`${origin}/late`, { ...prefer("wait=60"), signal: early.signal }).catch(() => "gone");
  await until("it has begun", () => begun);
  early.abort();
  expect(await before).toBe("gone");
  await until("it is answered", () => answered);
  expect(waiters.count).toBe(0);
  waiters.close();
  expect((await fetch(origin, prefer("wait=60"))).headers.has("preference-applied")).toBe(false);
  await app.close();
  await release();
  await bench.gatehouse.waitDone(id);
});
