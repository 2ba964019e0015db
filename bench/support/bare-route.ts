import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { bareQueueOf } from "./bare.js";
import { serve } from "./child.js";

// A bare BullMQ behind a bare Fastify: one open route that adds a job.
const { BENCH_DATABASE_URL = "", BENCH_REDIS_URL } = process.env;
const queue = bareQueueOf(BENCH_DATABASE_URL, BENCH_REDIS_URL);
const app = Fastify();
app.post("/add", async (_request, reply) => {
  const { id } = await queue.add("nothing", {}, { removeOnComplete: true, removeOnFail: true });
  return reply.code(202).send({ id });
});
await app.listen({ port: 0, host: "127.0.0.1" });
const { port } = app.server.address() as AddressInfo;
serve({ url: `http://127.0.0.1:${port}` });
