import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { type BenchPlace, onBackends, tokenOf } from "./support/backends.js";
import type { BareQueue } from "./support/bare.js";
import type { BenchServer } from "./support/child.js";
import { machineTime } from "./support/noop.js";
import { type BenchResult, compare, median, print } from "./support/report.js";

const OPTIONS = { rounds: 7, samples: 60 };
/** Between two: nothing else is to be done then. */
const PAUSE_MS = 15;
const TARGET = 3;

/**
 * Milliseconds from a 202 to the beginning of the first step, the median of a round, idle, against a bare BullMQ from
 * the call of `add` to the beginning of its processor. All of it over the wire, and every side in processes of its
 * own: an api and a worker there, a producer and a consumer here.
 */
export function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  return onBackends((place) => measure(place, { ...OPTIONS, ...given }));
}

async function measure(place: BenchPlace, { rounds, samples }: typeof OPTIONS): Promise<BenchResult> {
  const api = await place.start("operations-app");
  const worker = await place.start("operations-worker", { BENCH_STEPS: "1" });
  const consumer = await place.start("bare-queue");
  const queue = place.bareQueue();
  await consumer.ask("run");
  const agent = new Agent({ keepAlive: true });
  const authorization = `Bearer ${await tokenOf(api)}`;
  const accept = () => post(new URL(`${api.ready["url"]}/noop`), authorization, agent);
  try {
    const since: Record<"answer" | "request" | "add", number[]> = { answer: [], request: [], add: [] };
    for (let round = 0; round <= rounds; round += 1) {
      const ours = async () => gatehouseRound(worker, accept, samples);
      const bare = async () => bareRound(consumer, queue, samples);
      // Every other round the other way about; the first of each only warms up.
      const first = round % 2 === 0 ? await bare() : null;
      const [answer, whole] = await ours();
      const add = first ?? (await bare());
      if (round === 0) continue;
      since.answer.push(answer);
      since.request.push(whole);
      since.add.push(add);
    }
    return compare({
      name: `dispatch on ${place.backend}`,
      unit: "ms to the first step",
      better: "less",
      sides: [
        { name: "gatehouse, from the 202", samples: since.answer },
        { name: "bare BullMQ, from add", samples: since.add },
      ],
      target: TARGET,
      notes: [
        `from before the request to the first step: ${median(since.request).toFixed(2)} ms`,
        `each round is the median of ${samples}`,
      ],
    });
  } finally {
    agent.destroy();
    await queue.close();
    for (const child of [consumer, worker, api]) await child.stop();
  }
}

type Times = Readonly<Record<string, number>>;

async function gatehouseRound(
  worker: BenchServer,
  accept: () => Promise<Accepted>,
  samples: number,
): Promise<[fromAnswer: number, fromRequest: number]> {
  const accepted: Accepted[] = [];
  for (let sample = 0; sample < samples; sample += 1) {
    accepted.push(await accept());
    await delay(PAUSE_MS);
  }
  const times = await begunAll(worker, samples);
  const of = (moment: "askedAt" | "answeredAt"): number =>
    median(accepted.map((one) => (times[one.id] ?? Number.NaN) - one[moment]));
  return [of("answeredAt"), of("askedAt")];
}

async function bareRound(consumer: BenchServer, queue: BareQueue, samples: number): Promise<number> {
  const added: { readonly id: string; readonly at: number }[] = [];
  for (let sample = 0; sample < samples; sample += 1) {
    const at = machineTime();
    const { id } = await queue.add("nothing", {}, { removeOnComplete: true, removeOnFail: true });
    added.push({ id: String(id), at });
    await delay(PAUSE_MS);
  }
  const times = await begunAll(consumer, samples);
  return median(added.map(({ id, at }) => (times[id] ?? Number.NaN) - at));
}

/** When all that was sent began. */
async function begunAll(child: BenchServer, count: number): Promise<Times> {
  let times: Times = {};
  while (Object.keys(times).length < count) {
    await delay(20);
    times = { ...times, ...((await child.ask("began"))["times"] as Times) };
  }
  return times;
}

interface Accepted {
  readonly id: string;
  readonly askedAt: number;
  readonly answeredAt: number;
}

function post(url: URL, authorization: string, agent: Agent): Promise<Accepted> {
  return new Promise((resolve, reject) => {
    const askedAt = machineTime();
    const sent = request(url, { method: "POST", agent, headers: { authorization } }, (answer) => {
      const answeredAt = machineTime();
      let body = "";
      answer.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      answer.on("end", () => {
        if (answer.statusCode !== 202) return reject(new Error(`${answer.statusCode}: ${body}`));
        resolve({ id: (JSON.parse(body) as { id: string }).id, askedAt, answeredAt });
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
