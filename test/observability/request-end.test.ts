import { once } from "node:events";
import { connect, type Socket } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { type OperationsBench, openOperations } from "../http/operations/support.js";
import { until } from "../support/until.js";
import { type Collector, openCollector } from "./collector.js";
import { sampleOf } from "./support.js";

let collector: Collector;
let bench: OperationsBench;
let release: () => Promise<void>;
/** An operation that goes on as long as the tests. */
let id: string;
beforeAll(async () => {
  collector = await openCollector();
  bench = await openOperations({ env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url } });
  const job = await bench.slowJob();
  release = await bench.hold();
  id = (await bench.sync(job)).body.id;
  await bench.atTable(id);
});
afterAll(async () => {
  await release();
  await bench.gatehouse.waitDone(id);
  await bench.close();
  await collector.close();
});

interface Sent {
  readonly client: Socket;
  /** The connection as the api has it. */
  readonly server: Socket;
}

/** A request on a connection of its own, which the test can cut. */
async function send(lines: readonly string[], body = ""): Promise<Sent> {
  const { app, origin } = bench.gatehouse;
  const accepted = once(app.server, "connection") as Promise<[Socket]>;
  const client = connect(Number(new URL(origin).port), "127.0.0.1");
  onTestFinished(() => void client.destroy());
  const [server] = await accepted;
  client.write([...lines, "host: gatehouse", "", body].join("\r\n"));
  return { client, server };
}

async function hangUp({ client, server }: Sent): Promise<void> {
  client.destroy();
  await until("the api has noticed", () => server.destroyed);
}

const scrape = async (): Promise<string> => (await bench.gatehouse.call("GET", "/metrics")).text;

const linesOf = (traceId: string): Record<string, unknown>[] =>
  bench.gatehouse.log
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line["msg"] === "request" && line["traceId"] === traceId);

const REQUESTS = "gatehouse_http_requests_total";
const MEASURED = "gatehouse_http_request_duration_seconds_count";

test.each([
  { what: "a stream", path: "/events", header: "accept: text/event-stream", traceId: "a".repeat(32) },
  { what: "a wait", path: "", header: "prefer: wait=60", traceId: "b".repeat(32) },
])(
  "$what whose client hangs up is logged and counted once, as 499, not measured, and its span ends",
  async ({ path, header, traceId }) => {
    const route = { method: "GET", route: `/api/v1/operations/:id${path}` };
    const before = await scrape();
    const sent = await send([
      `GET /api/v1/operations/${id}${path} HTTP/1.1`,
      `authorization: Bearer ${await bench.gatehouse.token()}`,
      `traceparent: 00-${traceId}-00f067aa0ba902b7-01`,
      header,
    ]);
    await until("it waits", async () => sampleOf(await scrape(), "gatehouse_waiters") === 1);
    await hangUp(sent);
    const [line] = await until("it is logged", () => linesOf(traceId).length > 0 && linesOf(traceId));
    expect(line).toMatchObject({
      ...{ method: "GET", route: route.route, status: 499, aborted: true, address: "127.0.0.1" },
      caller: expect.any(String),
      ms: expect.any(Number),
    });
    expect(line?.["ms"]).toBeGreaterThan(0);
    const span = await until("its span has come", () =>
      collector.spans.find((one) => one.traceId === traceId && one.name === `GET ${route.route}`),
    );
    expect(span.attributes).toMatchObject({ "gatehouse.request.aborted": true });
    const after = await scrape();
    const count = (text: string) => sampleOf(text, REQUESTS, { ...route, status: "499" }) ?? 0;
    expect(count(after)).toBe(count(before) + 1);
    expect(sampleOf(after, MEASURED, route) ?? 0).toBe(sampleOf(before, MEASURED, route) ?? 0);
    expect(sampleOf(after, "gatehouse_waiters")).toBe(0);
    expect(linesOf(traceId)).toHaveLength(1);
  },
);

test("pipelined requests whose client hangs up before their turn end with their connection, and nobody waits on for them", async () => {
  const traceId = "d".repeat(32);
  const authorization = `authorization: Bearer ${await bench.gatehouse.token()}`;
  const request = (path: string) => [
    `GET /api/v1/operations/${id}${path} HTTP/1.1`,
    ...["host: gatehouse", authorization, "prefer: wait=60"],
    `traceparent: 00-${traceId}-00f067aa0ba902b7-01`,
  ];
  const sent = await send([...request(""), "", ...request("/events"), "", ...request("")]);
  await until("all wait", async () => sampleOf(await scrape(), "gatehouse_waiters") === 3);
  await hangUp(sent);
  await until("nobody waits", async () => sampleOf(await scrape(), "gatehouse_waiters") === 0);
  expect(linesOf(traceId).map(({ status, aborted }) => [status, aborted])).toEqual(
    Array(3).fill([499, true]),
  );
});

test("an answer that was sent to its end is logged once, with its own status, and not as broken off", async () => {
  const traceId = "c".repeat(32);
  const sent = await send([
    "GET /api/v1/jobs HTTP/1.1",
    `traceparent: 00-${traceId}-00f067aa0ba902b7-01`,
    "connection: close",
  ]);
  await until("the connection is closed", () => sent.server.destroyed);
  expect(linesOf(traceId)).toEqual([expect.objectContaining({ status: 401, route: "/api/v1/jobs" })]);
  expect(linesOf(traceId)[0]).not.toHaveProperty("aborted");
});

test("credentials that are refused are counted though their client hangs up before it is told", async () => {
  const { clientId } = await bench.gatehouse.createClient();
  const refused = async () => {
    const text = await scrape();
    return [
      sampleOf(text, "gatehouse_credentials_refused_total", { kind: "client" }) ?? 0,
      sampleOf(text, "gatehouse_tokens_refused_total", { status: "401" }) ?? 0,
    ];
  };
  const before = await refused();
  // The check stands still: somebody holds the table that it reads.
  const holder = new pg.Client({ connectionString: bench.gatehouse.database.url });
  await holder.connect();
  onTestFinished(() => holder.end());
  await holder.query("BEGIN; LOCK TABLE api_client_secrets IN ACCESS EXCLUSIVE MODE");
  const form = new URLSearchParams({
    grant_type: "client_credentials",
    client_id: clientId,
    client_secret: "a guess",
  }).toString();
  const sent = await send(
    [
      "POST /oauth/token HTTP/1.1",
      "content-type: application/x-www-form-urlencoded",
      `content-length: ${form.length}`,
    ],
    form,
  );
  await until("it waits for the table", async () => {
    const waiting = await bench.gatehouse.database.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return waiting.length > 0;
  });
  await hangUp(sent);
  await holder.query("COMMIT");
  await until("it is counted", async () => {
    const now = await refused();
    return now.every((count, i) => count > (before[i] ?? 0));
  });
  expect(await refused()).toEqual(before.map((count) => count + 1));
});
