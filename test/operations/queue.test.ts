import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OperationQueue, openQueue, type QueueBackend } from "../../src/operations/queue.js";
import { newId } from "../../src/platform/ids.js";
import { queueBackends } from "../support/backends.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";
import { killConsumer, spawnConsumer } from "./consumer-process.js";
import { silent } from "./support.js";

describe.each(await queueBackends())("on $name", (backend) => {
  let database: TestDatabase;
  let configuration: QueueBackend;
  let queue: OperationQueue;

  beforeAll(async () => {
    database = await createDatabase();
    configuration = await backend.queue(database.url);
    queue = openQueue(configuration, silent);
  });
  afterAll(async () => {
    await queue.close();
    await database.drop();
  });

  const send = (...ids: string[]): Promise<void> =>
    queue.send(ids.map((id) => ({ id, priority: 100, region: null })));

  test("an id that waits is not sent twice", async () => {
    const [id, marker] = [newId(), newId()];
    await send(id);
    await send(id);
    await send(marker);
    const received: string[] = [];
    const { stop } = await queue.consume(async (one) => void received.push(one), 1);
    await until("the marker came", () => received.includes(marker));
    await stop();
    expect(received).toEqual([id, marker]);
  });

  test("an id that is being worked at is not sent twice, and can be sent again when that is over", async () => {
    const [id, marker] = [newId(), newId()];
    const received: string[] = [];
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { stop } = await queue.consume(async (one) => {
      received.push(one);
      if (one === id) await held;
    }, 2);
    await send(id);
    await until("it is worked at", () => received.includes(id));
    await send(id);
    await send(marker);
    await until("the marker came", () => received.includes(marker));
    expect(received).toEqual([id, marker]);
    release();
    await until("it comes again", async () => {
      await send(id);
      return received.filter((one) => one === id).length > 1;
    });
    await stop();
  });

  test("an id whose consumer failed can be sent again", async () => {
    const id = newId();
    let tries = 0;
    const { stop } = await queue.consume(async () => {
      if (++tries === 1) throw new Error("no");
    }, 1);
    await until("it came twice", async () => {
      await send(id);
      return tries >= 2;
    });
    await stop();
  });

  test("lower priority numbers come first", async () => {
    const [late, early] = [newId(), newId()];
    await queue.send([
      { id: late, priority: 100, region: null },
      { id: early, priority: 10, region: null },
    ]);
    const received: string[] = [];
    // One of a test before may still be in the queue.
    const take = async (id: string): Promise<void> => {
      if (id === late || id === early) received.push(id);
    };
    const { stop } = await queue.consume(take, 1);
    await until("both came", () => received.length === 2);
    await stop();
    expect(received).toEqual([early, late]);
  });

  test("at most as many at once as asked for", async () => {
    const ids = Array.from({ length: 12 }, newId);
    let now = 0;
    let most = 0;
    let done = 0;
    const { stop } = await queue.consume(async () => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setImmediate(resolve));
      now--;
      done++;
    }, 3);
    await send(...ids);
    await until("all came", () => done === ids.length);
    await stop();
    expect(most).toBeLessThanOrEqual(3);
  });

  test("as many at once as it says, of no region and of each region as many as asked for", async () => {
    const places = [null, "east", "west"];
    const items = [1, 2, 3].flatMap(() => places.map((region) => ({ id: newId(), priority: 100, region })));
    await queue.send(items);
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const begun = new Set<string>();
    const ended = new Set<string>();
    const handle = async (id: string): Promise<void> => {
      begun.add(id);
      await held;
      ended.add(id);
    };
    const { limit, stop } = await queue.consume(handle, 2, ["east", "west"]);
    expect(limit).toBe(6);
    await until("there is no more room", () => begun.size === limit);
    release();
    await until("all came", () => ended.size === items.length);
    await stop();
  });

  test("what a killed consumer had is delivered again", async () => {
    const id = newId();
    const killed = await spawnConsumer(configuration);
    await send(id);
    await until("the consumer has it", () => killed.received().includes(id));
    await killConsumer(killed);
    const received: string[] = [];
    const { stop } = await queue.consume(async (one) => void received.push(one), 1);
    await until("it is delivered again", () => received.includes(id), 15_000);
    await stop();
  });

  test("an id of a region goes to those who serve it, one of none to anybody", async () => {
    const [north, south, anywhere] = [newId(), newId(), newId()];
    const received = { north: [] as string[], none: [] as string[] };
    await queue.send([
      { id: north, priority: 100, region: "north" },
      { id: south, priority: 100, region: "south" },
      { id: anywhere, priority: 100, region: null },
    ]);
    const { stop: stopNone } = await queue.consume(async (id) => void received.none.push(id), 1);
    await until("that of no region came", () => received.none.includes(anywhere));
    await stopNone();
    const { stop: stopNorth } = await queue.consume(async (id) => void received.north.push(id), 1, ["north"]);
    await until("that of the region came", () => received.north.includes(north));
    const marker = newId();
    await queue.send([{ id: marker, priority: 1_000, region: "north" }]);
    await until("the marker came", () => received.north.includes(marker));
    await stopNorth();
    expect(received).toEqual({ none: [anywhere], north: [north, marker] });
    // And goes on to wait for whoever serves its region.
    const { stop: stopSouth } = await queue.consume(async (id) => void received.none.push(id), 1, ["south"]);
    await until("that of the other region came", () => received.none.includes(south));
    await stopSouth();
  });

  test("what comes while a consumer pauses goes to the others, and it gets more when it goes on", async () => {
    const paused: string[] = [];
    const others: string[] = [];
    const one = await queue.consume(async (id) => void paused.push(id), 1);
    const before = newId();
    await send(before);
    await until("it receives", () => paused.includes(before));
    one.pause();
    const other = await queue.consume(async (id) => void others.push(id), 1);
    const meanwhile = Array.from({ length: 5 }, newId);
    await send(...meanwhile);
    // It may have been waiting for the first of them.
    await until("all have come", () => paused.length + others.length === 1 + meanwhile.length);
    expect(paused.length).toBeLessThanOrEqual(2);
    await other.stop();
    one.resume();
    const after = newId();
    await send(after);
    await until("it receives again", () => paused.includes(after));
    await one.stop();
  });

  test("stopping waits for what runs", async () => {
    const id = newId();
    const order: string[] = [];
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { stop } = await queue.consume(async () => {
      order.push("begun");
      await held;
      order.push("ended");
    }, 1);
    await send(id);
    await until("it runs", () => order.includes("begun"));
    const stopped = stop().then(() => order.push("stopped"));
    release();
    await stopped;
    expect(order).toEqual(["begun", "ended", "stopped"]);
  });
});
