import { expect, test } from "vitest";
import type { SourceConnector, Stream } from "../../../connectors/connector.js";
import type { ClaimedOperation } from "../../../operations/operation.js";
import { MasterKey } from "../../../platform/crypto.js";
import { newId } from "../../../platform/ids.js";
import { createLogger } from "../../../platform/logger.js";
import { discoverHandler } from "./discover.js";

const masterKey = new MasterKey(MasterKey.generate());
const id = newId();
const operation = {
  ...{ id, payload: { role: "source", type: "wide", version: "1.0.0" } },
  payloadSecrets: masterKey.encrypt("operation-payloads", id, Buffer.from("{}")),
} as unknown as ClaimedOperation;

function discover(count: number): Promise<unknown> {
  const streams = Array.from({ length: count }, (_each, nr) => ({ name: `${nr}-${"x".repeat(1_000)}` }));
  const source = { discover: async () => streams as unknown as Stream[] } as unknown as SourceConnector;
  const connectors = new Map([["wide", { source }]]) as unknown as Parameters<typeof discoverHandler>[0];
  const context = { operation, signal: new AbortController().signal, logger: createLogger("silent", "test") };
  return discoverHandler(connectors, masterKey).run(context as never);
}

test("a source with more streams than can be told at once is an error that says what to do", async () => {
  await expect(discover(1_000)).resolves.toMatchObject({ streams: { length: 1_000 } });
  await expect(discover(20_000)).rejects.toThrow(/20000 streams.*name fewer schemas/);
});
