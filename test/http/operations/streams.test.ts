import { connect } from "node:net";
import Fastify from "fastify";
import { expect, onTestFinished, test } from "vitest";
import { EventStream, type StreamLimits } from "../../../src/http/events.js";
import { until } from "../../support/until.js";

const LONG = 60_000;
/** More than the kernel keeps of a connection whose other side does not read. */
const HUGE = `data: ${"x".repeat(32 * 1024 * 1024)}\n\n`;

/** A stream to a client that reads only when it is told to. */
async function open(limits: Partial<StreamLimits>) {
  const app = Fastify({ forceCloseConnections: true });
  const opened: EventStream[] = [];
  app.get("/", (_request, reply) => {
    const all = {
      heartbeatMs: LONG,
      maxBuffered: 2 * HUGE.length,
      stalledMs: LONG,
      endingMs: LONG,
      ...limits,
    };
    opened.push(new EventStream(reply, async () => true, all));
  });
  await app.listen({ port: 0, host: "127.0.0.1" });
  const address = app.server.address();
  const client = connect(typeof address === "object" ? (address?.port ?? 0) : 0, "127.0.0.1");
  onTestFinished(async () => {
    client.destroy();
    await app.close();
  });
  client.pause();
  client.write("GET / HTTP/1.1\r\nhost: gatehouse\r\n\r\n");
  const stream = await until("it is open", () => opened[0]);
  const seen = { ended: 0, closed: 0 };
  stream.onEnd(() => {
    seen.ended += 1;
  });
  stream.onClose(() => {
    seen.closed += 1;
  });
  return { stream, client, seen };
}

test("a stream whose client takes nothing of what was written is cut", async () => {
  const { stream, seen } = await open({ stalledMs: 200, heartbeatMs: 0 });
  stream.send(HUGE);
  await until("it is cut", () => {
    // What is said meanwhile changes nothing.
    void stream.tick();
    return seen.closed === 1;
  });
  expect(seen.ended).toBe(1);
});

test("a stream that was ended has ended for who feeds it, and is cut where its client does not take the rest", async () => {
  const { stream, seen } = await open({ endingMs: 100 });
  stream.send(HUGE);
  stream.end();
  expect(seen).toEqual({ ended: 1, closed: 0 });
  stream.end();
  await until("it is cut", () => seen.closed === 1);
  expect(seen.ended).toBe(1);
});

test("a client that takes its time gets the rest of a stream that was ended, however long it takes altogether", async () => {
  const endingMs = 1_500;
  const { stream, client } = await open({ endingMs });
  stream.send(HUGE);
  stream.end();
  const begun = performance.now();
  let bytes = 0;
  client.on("data", (part: Buffer) => {
    bytes += part.length;
    client.pause();
    setTimeout(() => client.resume(), 8);
  });
  client.resume();
  await until("all has come", () => bytes > HUGE.length);
  expect(performance.now() - begun).toBeGreaterThan(2 * endingMs);
});

test("who asks for the end of a stream that has ended is told at once", async () => {
  const { stream } = await open({});
  stream.end();
  let told = false;
  stream.onEnd(() => {
    told = true;
  });
  expect(told).toBe(true);
});
