import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { files, type Numbered, ProjectApi } from "../http/project/support.js";
import { queueBackends } from "../support/backends.js";
import { type Installation, openInstallation } from "../support/installation.js";
import type { WebhookAnswer } from "./bench.js";
import { closeReceivers, openReceiver, type Receiver, verify } from "./receiver.js";

describe.each(await queueBackends())("on $name", (backend) => {
  let gatehouse: Installation;
  let receiver: Receiver;
  beforeAll(async () => {
    gatehouse = await openInstallation(backend.redis === null ? {} : { redisUrl: backend.redis.url });
    receiver = await openReceiver();
  });
  afterAll(async () => {
    await gatehouse.close();
    await closeReceivers();
  });

  test("a sync is told as it is accepted, started and done, by the worker itself", async () => {
    const created = await gatehouse.call<WebhookAnswer>("POST", "/api/v1/webhooks", {
      body: { url: receiver.url, projectId: "default", operationTypes: ["sync"] },
    });
    await gatehouse.putFile("in.csv", "id\n1\n2\n");
    const api = new ProjectApi(gatehouse);
    const ends = { source: files("in", "in.csv"), destination: files("out", "out") };
    const job: Numbered = await api.make("/jobs", {
      ...ends,
      name: "job",
      frequency: "",
      streams_config: {},
    });
    const { id } = await api.syncAndWait(job.id);
    const received = await receiver.until(3);
    for (const each of received) verify(created.body.secret, each);
    expect(received.map(({ message }) => [message.type, message.data["id"], message.data["done"]])).toEqual([
      ["operation.accepted", id, false],
      ["operation.started", id, false],
      ["operation.succeeded", id, true],
    ]);
    const operation = await gatehouse.call("GET", `/api/v1/operations/${id}`);
    expect(received[2]?.message.data).toEqual(operation.body);
  });
});
