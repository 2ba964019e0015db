import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { loadConfig } from "../../src/config.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { openTracer } from "../../src/platform/tracer.js";
import { openRuntime } from "../../src/runtime.js";
import { createDatabase } from "../support/database.js";
import { openCollector } from "./collector.js";

test("the last spans are sent though another part of the process cannot be closed", async () => {
  const collector = await openCollector();
  onTestFinished(() => collector.close());
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const key = MasterKey.generate();
  const config = loadConfig({ DATABASE_URL: database.url, GATEHOUSE_MASTER_KEY: key }, "/");
  const logger = pino({ level: "silent" });
  const tracer = await openTracer({ endpoint: collector.url, role: "test", version: "0" }, logger);
  const runtime = await openRuntime(config, database.url, new MasterKey(key), logger, { tracer });
  tracer?.start("the last", "internal", null).end();
  // A pool is closed once: the second time is a fault.
  await runtime.db.close();
  await expect(runtime.close()).rejects.toThrow();
  expect(collector.spans.map(({ name }) => name)).toEqual(["the last"]);
});
