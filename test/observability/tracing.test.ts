import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MasterKey } from "../../src/platform/crypto.js";
import { type OperationsBench, openOperations } from "../http/operations/support.js";
import { endAllProcesses, startRole, type TestProcess } from "../support/processes.js";
import { until } from "../support/until.js";
import { type Collector, openCollector, type SentSpan } from "./collector.js";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT = "00f067aa0ba902b7";

let collector: Collector;
let bench: OperationsBench;
let worker: TestProcess;
beforeAll(async () => {
  collector = await openCollector();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, GATEHOUSE_MASTER_KEY: MasterKey.generate() };
  bench = await openOperations({ worker: false, env });
  const { database, filesRoot } = bench.gatehouse;
  worker = await startRole("worker", {
    ...env,
    DATABASE_URL: database.url,
    GATEHOUSE_HOME: join(filesRoot, ".."),
    FILES_ROOT: filesRoot,
    // Looking for engines of databases takes a second.
    GATEHOUSE_REGIONS: "none",
    OUTBOUND_ALLOW: "loopback",
    // The library's own setting: not so long a wait for what the test looks at.
    OTEL_BSP_SCHEDULE_DELAY: "100",
  });
});
afterAll(async () => {
  await endAllProcesses();
  await bench.close();
  await collector.close();
});

const spansOf = (traceId: string): readonly SentSpan[] =>
  collector.spans.filter((span) => span.traceId === traceId);

test("one trace leads from the client's request over two processes to each step of the worker", async () => {
  const { gatehouse } = bench;
  const job = await bench.quickJob();
  const headers = { traceparent: `00-${TRACE}-${PARENT}-01` };
  const answer = await bench.sync(job, { headers });
  expect(answer.status, answer.text).toBe(202);
  const { id } = answer.body;
  await gatehouse.waitDone(id);
  const names = ["POST /api/v1/jobs/:id/sync", "dispatch sync", "attempt sync", "step copy", "step commit"];
  const spans = await until(
    "the whole trace has come",
    () => {
      const found = names.map((name) => spansOf(TRACE).find((span) => span.name === name));
      return found.every((span) => span !== undefined) ? (found as SentSpan[]) : null;
    },
    30_000,
  );
  const [request, dispatch, attempt, copy, commit] = spans;
  expect(request).toMatchObject({ parentSpanId: PARENT, role: "test" });
  expect(request?.attributes).toMatchObject({
    "http.route": "/api/v1/jobs/:id/sync",
    "gatehouse.operation.id": id,
  });
  expect(dispatch?.parentSpanId).toBe(request?.spanId);
  expect(attempt).toMatchObject({ parentSpanId: request?.spanId, role: "worker" });
  expect(attempt?.attributes).toMatchObject({
    "gatehouse.operation.id": id,
    "gatehouse.operation.status": "succeeded",
  });
  for (const step of [copy, commit]) expect(step?.parentSpanId).toBe(attempt?.spanId);
});

test("the ids of trace, request and operation stand in the log lines of both processes", async () => {
  const answer = await bench.sync(await bench.quickJob(), {
    headers: { traceparent: `00-${TRACE.replace("4", "5")}-${PARENT}-01` },
  });
  const { id } = answer.body;
  await bench.gatehouse.waitDone(id);
  const traceId = TRACE.replace("4", "5");
  const lines = bench.gatehouse.log.map((line) => JSON.parse(line) as Record<string, unknown>);
  const request = lines.find((line) => line["msg"] === "request" && line["operationId"] === id);
  expect(request).toMatchObject({ traceId, reqId: expect.any(String), status: 202 });
  const accepted = lines.find((line) => line["msg"] === "operation accepted" && line["operationId"] === id);
  expect(accepted).toMatchObject({ requestId: request?.["reqId"], operationType: "sync" });
  const ended = await until("the worker says so", () =>
    worker.entries().find((entry) => entry.msg === "the attempt has ended" && entry["operationId"] === id),
  );
  expect(ended).toMatchObject({ traceId, requestId: request?.["reqId"], attempt: 1, status: "succeeded" });
});

test("a client's header that cannot be read is left aside: the trace begins here", async () => {
  const answer = await bench.sync(await bench.quickJob(), { headers: { traceparent: "00-zz-zz-01" } });
  expect(answer.status).toBe(202);
  const { id } = answer.body;
  const request = await until("its span has come", () =>
    collector.spans.find((span) => span.attributes["gatehouse.operation.id"] === id && span.role === "test"),
  );
  expect(request?.parentSpanId ?? "").toBe("");
});

test("issuing a token is a part of its request, and no secret is sent to the collector", async () => {
  const { gatehouse } = bench;
  const client = await gatehouse.createClient();
  const token = await gatehouse.token(client);
  await gatehouse.call("GET", `/api/v1/jobs?cursor=${client.clientSecret}`, { token });
  const issue = await until("the span has come", () =>
    collector.spans.findLast((span) => span.name === "token issue"),
  );
  const request = await until("its request's has come", () =>
    collector.spans.find((span) => span.spanId === issue.parentSpanId),
  );
  expect(request.name).toBe("POST /oauth/token");
  await until("the list's has come", () => collector.spans.some((span) => span.name === "GET /api/v1/jobs"));
  const sent = collector.bodies.join("\n");
  for (const secret of [client.clientSecret, token, gatehouse.admin.clientSecret]) {
    expect(sent).not.toContain(secret);
  }
});
