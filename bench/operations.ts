import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type BenchPlace, onBackends, tokenOf } from "./support/backends.js";
import type { BareQueue } from "./support/bare.js";
import { burst } from "./support/burst.js";
import type { BenchServer } from "./support/child.js";
import { type BenchResult, compare, median, print } from "./support/report.js";

const OPTIONS = { rounds: 5, count: 2_000 };
const CONNECTIONS = 32;
/** Of what bare BullMQ does on the same backend; on Redis that keeps nothing on disk. */
const TARGETS = { postgres: 0.5, redis: 0.15 } as const;

interface Rates {
  /** Asked for in the process itself, as jobs of a bare queue are added. */
  readonly accepted: number;
  /** Asked for over http. */
  readonly answered: number;
  readonly finished: number;
}

/**
 * Operations per second: accepted, each with an Idempotency-Key of its own, within the api's process and over http, and
 * finished, by one worker process; against jobs of a bare BullMQ: added, one by one, by as many at once, within a
 * process and by an open route of a bare Fastify, and processed by as many at once.
 * What was accepted is on disk when it is answered (`synchronous_commit`).
 */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  return (await onBackends((place) => measure(place, { ...OPTIONS, ...given }))).flat();
}

async function measure(place: BenchPlace, { rounds, count }: typeof OPTIONS): Promise<BenchResult[]> {
  const api = await place.start("operations-app");
  const queue = place.bareQueue();
  const route = await place.start("bare-route");
  const authorization = `Bearer ${await tokenOf(api)}`;
  const ours: Rates[] = [];
  const bare: Rates[] = [];
  try {
    for (let round = 0; round <= rounds; round += 1) {
      const sides = [
        async () => ours.push(await gatehouseRound(place, api, authorization, count)),
        async () => bare.push(await bareRound(place, queue, route, count)),
      ];
      // Every other round the other way about; the first of each only warms up.
      for (const side of round % 2 === 0 ? sides : sides.reverse()) await side();
    }
  } finally {
    await queue.close();
    for (const child of [route, api]) await child.stop();
  }
  const overall = ours
    .slice(1)
    .map(({ answered }, round) => answered / (bare[round + 1]?.accepted ?? Number.NaN));
  const within = `of what a bare BullMQ adds without http: ${median(overall).toFixed(3)}`;
  const result = (what: keyof Rates, name: string, unit: string, ...notes: string[]): BenchResult =>
    compare({
      name: `${name} on ${place.backend}`,
      unit,
      sides: [
        { name: "gatehouse", samples: ours.slice(1).map((rates) => rates[what]) },
        { name: "bare BullMQ", samples: bare.slice(1).map((rates) => rates[what]) },
      ],
      target: TARGETS[place.backend],
      notes: [`${count} in each round`, ...notes],
    });
  return [
    result("accepted", "operations accepted", "operations/s"),
    result("answered", "operations accepted over http", "202/s", within),
    result("finished", "operations finished", "operations/s"),
  ];
}

async function gatehouseRound(
  place: BenchPlace,
  { ready, ask }: BenchServer,
  authorization: string,
  count: number,
): Promise<Rates> {
  const before = await lastId(place);
  const round = randomUUID();
  const within = Number((await ask(`accept ${count} ${CONNECTIONS}`))["seconds"]);
  const seconds = await burst({
    ...{ url: new URL(`${ready["url"]}/noop`), count, connections: CONNECTIONS },
    headers: (nr) => `Authorization: ${authorization}\r\nIdempotency-Key: ${round}-${nr}`,
  });
  const worker = await place.start("operations-worker");
  const finished = await untilFinished(place, before, 2 * count);
  await worker.ask("stop");
  await worker.stop();
  return { accepted: count / within, answered: count / seconds, finished };
}

/** Ids grow. */
async function lastId({ query }: BenchPlace): Promise<string> {
  const [row] = await query<{ id: string }>("SELECT max(id::text) AS id FROM operations");
  return row?.id ?? "";
}

/** Operations per second from the first claim to the last end, by the database's clock. */
async function untilFinished({ query }: BenchPlace, before: string, count: number): Promise<number> {
  for (;;) {
    const [row] = await query<{ count: number; seconds: number }>(
      `SELECT count(*)::int AS count, extract(epoch FROM max(finished_at) - min(started_at))::float8 AS seconds
       FROM operations WHERE id > $1::uuid AND status = 'succeeded'`,
      [before],
    );
    if (row?.count === count) return count / row.seconds;
    await delay(200);
  }
}

async function bareRound(
  place: BenchPlace,
  queue: BareQueue,
  route: BenchServer,
  count: number,
): Promise<Rates> {
  const began = performance.now();
  let left = count;
  const add = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await queue.add("nothing", {}, { removeOnComplete: true, removeOnFail: true });
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, add));
  const accepted = (1_000 * count) / (performance.now() - began);
  const url = new URL(`${route.ready["url"]}/add`);
  const seconds = await burst({ url, count, connections: CONNECTIONS, headers: () => "Accept: */*" });
  const consumer = await place.start("bare-queue");
  await consumer.ask("run");
  for (;;) {
    await delay(200);
    const { done, first, last } = await consumer.ask("done");
    if (Number(done) < 2 * count) continue;
    await consumer.ask("stop");
    await consumer.stop();
    const finished = (1_000 * 2 * count) / (Number(last) - Number(first));
    return { accepted, answered: count / seconds, finished };
  }
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
