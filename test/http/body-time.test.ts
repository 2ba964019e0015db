import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import Fastify, { type FastifyInstance } from "fastify";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bodyTimePlugin } from "../../src/http/body-time.js";

const LIMITS = { wholeMs: 300, stillMs: 300 };
let app: FastifyInstance;

beforeAll(async () => {
  app = Fastify();
  await app.register(bodyTimePlugin, LIMITS);
  app.addContentTypeParser("text/plain", { parseAs: "string" }, (_request, body, done) => done(null, body));
  app.addContentTypeParser("application/octet-stream", (_request, payload, done) => done(null, payload));
  app.post("/small", async ({ body }) => body);
  app.post("/long", async ({ body }) => {
    await delay(LIMITS.wholeMs * 2);
    return body;
  });
  app.post("/upload", { config: { upload: true } }, async ({ body }) => text(body as IncomingMessage));
  await app.listen({ port: 0, host: "127.0.0.1" });
});
afterAll(() => app.close());

/** Begins a request whose body is to have `length` bytes. */
async function begin(path: string, length: number, type = "text/plain"): Promise<Socket> {
  const socket = connect((app.server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n`,
  );
  return socket;
}

/** Sends a byte at a time, over more than the longest that a body may take or stand still. */
async function trickle(socket: Socket, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes && socket.writable; sent += 1) {
    socket.write("x");
    await delay((LIMITS.wholeMs * 3) / bytes);
  }
}

test("a body that does not come is given up with 408, also on a connection that was used before", async () => {
  const socket = await begin("/small", 3);
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 408 /);
  const kept = connect((app.server.address() as AddressInfo).port, "127.0.0.1");
  await once(kept, "connect");
  const post = "POST /small HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n";
  kept.write(`${post}abc`);
  await once(kept, "data");
  kept.write(`${post}a`);
  expect(await text(kept)).toMatch(/HTTP\/1\.1 408 /);
});

test("a body that comes in drops is given up when its whole time is over", async () => {
  const socket = await begin("/small", 30);
  const [answer] = await Promise.all([text(socket), trickle(socket, 30)]);
  expect(answer).toMatch(/^HTTP\/1\.1 408 /);
});

test("an upload may take as long as it goes on coming, and is given up where it stands still", async () => {
  const type = "application/octet-stream";
  const moving = await begin("/upload", 30, type);
  const [answer] = await Promise.all([text(moving), trickle(moving, 30)]);
  expect(answer).toMatch(/^HTTP\/1\.1 200 [\s\S]*x{30}$/);
  expect(await text(await begin("/upload", 30, type))).toMatch(/408 /);
});

test("a body that is here does not hurry its answer", async () => {
  const socket = await begin("/long", 3);
  socket.write("abc");
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 200 [\s\S]*abc$/);
});
