import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { startApi } from "../../../src/api.js";
import { newId } from "../../../src/platform/ids.js";
import { createMetrics } from "../../../src/platform/metrics.js";
import { until } from "../../support/until.js";
import { type OperationsBench, type OperationView, openOperations } from "./support.js";

let bench: OperationsBench;
beforeAll(async () => {
  bench = await openOperations();
});
afterAll(() => bench.close());

interface Stream {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  /** What came so far. */
  text(): string;
  events(): { readonly id: number; readonly operation: OperationView }[];
  readonly ended: Promise<void>;
  abort(): void;
}

async function follow(
  id: string,
  { origin = bench.gatehouse.origin, token = "", lastEventId = "" } = {},
): Promise<Stream> {
  const headers = {
    authorization: `Bearer ${token === "" ? await bench.gatehouse.token() : token}`,
    ...(lastEventId === "" ? {} : { "last-event-id": lastEventId }),
  };
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(`${origin}/api/v1/operations/${id}/events`, { headers }, (incoming) => {
      let text = "";
      incoming.setEncoding("utf8");
      incoming.on("data", (chunk: string) => {
        text += chunk;
      });
      const ended = new Promise<void>((end) => incoming.on("close", end));
      incoming.on("error", () => {});
      resolve({
        status: incoming.statusCode ?? 0,
        headers: incoming.headers,
        text: () => text,
        events: () =>
          [...text.matchAll(/^id: (\d+)\nevent: operation\ndata: (.*)\n\n/gm)].map((match) => ({
            id: Number(match[1]),
            operation: JSON.parse(match[2] ?? "") as OperationView,
          })),
        ended,
        abort: () => outgoing.destroy(),
      });
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

test("each change of an operation is an event, and the last one ends the stream", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  const stream = await follow(id);
  expect(stream.status).toBe(200);
  expect(stream.headers).toMatchObject({
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
  });
  expect(stream.text()).toContain("retry: ");
  await bench.atTable(id);
  await until("it is seen to run", () =>
    stream.events().some(({ operation }) => operation.status === "running"),
  );
  await release();
  await stream.ended;
  const events = stream.events();
  const ids = events.map((event) => event.id);
  expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
  expect(events.map(({ operation }) => operation.done)).toEqual([
    ...Array(events.length - 1).fill(false),
    true,
  ]);
  const last = events.at(-1);
  expect(last?.operation).toEqual((await bench.read(id)).body);
  // Who comes back hears what it has missed, and no more.
  const missed = await follow(id, { lastEventId: String(ids[0]) });
  await missed.ended;
  expect(missed.events()).toEqual([last]);
  const upToDate = await follow(id, { lastEventId: String(last?.id) });
  await upToDate.ended;
  expect([upToDate.status, upToDate.text()]).toEqual([204, ""]);
  const confused = await follow(id, { lastEventId: "yesterday" });
  await confused.ended;
  expect(confused.events()).toEqual([last]);
});

test("a state of any size comes whole", async () => {
  const { id } = (await bench.sync(await bench.quickJob())).body;
  await bench.gatehouse.waitDone(id);
  await bench.gatehouse.database.query(
    `UPDATE operations SET revision = revision + 1,
       result = (SELECT jsonb_object_agg(n::text, gen_random_uuid()) FROM generate_series(1, 40000) n) WHERE id = $1`,
    [id],
  );
  const stream = await follow(id);
  await stream.ended;
  expect(stream.text().length).toBeGreaterThan(1_000_000);
  expect(stream.events().at(-1)?.operation).toEqual((await bench.read(id)).body);
});

test("who has seen the present state of one that goes on gets only what is new", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  const first = await follow(id);
  await bench.atTable(id);
  const seen = await until("it stands still", async () => {
    const revision = first.events().at(-1)?.id;
    const [row] = await bench.gatehouse.database.query<{ revision: number }>(
      "SELECT revision FROM operations WHERE id = $1",
      [id],
    );
    return row?.revision === revision && revision;
  });
  first.abort();
  const second = await follow(id, { lastEventId: String(seen) });
  await bench.cancel(id);
  await second.ended;
  expect(second.events().map((event) => event.id)).not.toContain(seen);
  expect(second.events().at(-1)?.operation.status).toBe("cancelled");
  await release();
});

test("what all who follow an operation are told is written once for all of them", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  await bench.atTable(id);
  const streams = await Promise.all(Array.from({ length: 5 }, () => follow(id)));
  await until("the state came", () => streams.every((stream) => stream.events().length > 0));
  const written = vi.spyOn(JSON, "stringify");
  onTestFinished(() => written.mockRestore());
  // The worker, which says how far it is meanwhile, leaves this as it is.
  const next = newId();
  await bench.gatehouse.database.query(
    "UPDATE operations SET next_operation_id = $2, revision = revision + 1 WHERE id = $1",
    [id, next],
  );
  await until("all were told", () => streams.every((stream) => stream.text().includes(next)));
  const states = written.mock.results.map(({ value }) => String(value)).filter((text) => text.includes(next));
  expect(states.length).toBeGreaterThan(0);
  expect(states).toEqual([...new Set(states)]);
  for (const stream of streams) stream.abort();
  await release();
  await bench.gatehouse.waitDone(id);
});

test("a stream ends within seconds of its token's revocation, or when its client is disabled", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  const client = await bench.gatehouse.createClient({ scopes: ["operation:read"] });
  const token = await bench.gatehouse.token(client);
  const stream = await follow(id, { token });
  const stays = await follow(id);
  await until("the state came", () => stream.events().length > 0);
  const revoked = performance.now();
  const credentials = { client_id: client.clientId, client_secret: client.clientSecret };
  const answer = await bench.gatehouse.call("POST", "/oauth/revoke", {
    token: null,
    body: { ...credentials, token },
  });
  expect(answer.status, answer.text).toBe(200);
  await stream.ended;
  expect(performance.now() - revoked).toBeLessThan(4_000);
  expect(stream.events().at(-1)?.operation.done).toBe(false);
  await release();
  await stays.ended;
  expect(stays.events().at(-1)?.operation.done).toBe(true);
});

test("is guarded like the rest", async () => {
  const { id } = (await bench.sync(await bench.quickJob())).body;
  await bench.gatehouse.waitDone(id);
  const path = `/api/v1/operations/${id}/events`;
  expect((await bench.gatehouse.call("GET", path, { token: null })).status).toBe(401);
  const writer = await bench.gatehouse.createClient({ scopes: ["operation:write"] });
  const token = await bench.gatehouse.token(writer);
  expect((await bench.gatehouse.call("GET", path, { token })).status).toBe(403);
  const other = await bench.gatehouse.createOrganization();
  const stranger = await bench.gatehouse.token(other.client);
  expect((await bench.gatehouse.call("GET", path, { token: stranger })).status).toBe(404);
  expect((await bench.gatehouse.call("GET", "/api/v1/operations/x/events")).status).toBe(404);
  expect((await bench.gatehouse.call("HEAD", path)).status).toBe(200);
  const [row] = await bench.gatehouse.database.query<{ revision: number }>(
    "SELECT revision FROM operations WHERE id = $1",
    [id],
  );
  const seen = { headers: { "last-event-id": String(row?.revision) } };
  expect((await bench.gatehouse.call("HEAD", path, seen)).status).toBe(204);
  expect((await bench.gatehouse.call("HEAD", path, { token: null })).status).toBe(401);
});

test("streams and waits end when the api stops, and nobody waits for them", async () => {
  const job = await bench.slowJob();
  const release = await bench.hold();
  const { id } = (await bench.sync(job)).body;
  const second = await startApi({ ...bench.gatehouse.runtime, metrics: createMetrics("second") });
  const address = second.app.server.address();
  const origin = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  const stream = await follow(id, { origin });
  const headers = { authorization: `Bearer ${await bench.gatehouse.token()}`, prefer: "wait=60" };
  const waiting = fetch(`${origin}/api/v1/operations/${id}`, { headers });
  await until("the state came", () => stream.events().length > 0);
  const connections = (): Promise<number> =>
    new Promise((resolve) => second.app.server.getConnections((_error, count) => resolve(count)));
  await until("both are connected", async () => (await connections()) === 2);
  // Answered after the waiting one was taken in, by the same way.
  expect(
    (await fetch(`${origin}/api/v1/operations/${id}`, { headers: { ...headers, prefer: "" } })).status,
  ).toBe(200);
  await second.stop();
  await stream.ended;
  expect(((await (await waiting).json()) as OperationView).done).toBe(false);
  await release();
  await bench.gatehouse.waitDone(id);
});
