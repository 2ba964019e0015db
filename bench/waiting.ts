import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { type BenchPlace, openPostgres, tokenOf } from "./support/backends.js";
import type { BenchServer } from "./support/child.js";
import { type BenchResult, compare, median, print } from "./support/report.js";

const OPTIONS = { rounds: 5, many: 5_000, few: 500 };
const MAX_RSS_MIB = 400;
const MAX_ANSWER_MS = 1_000;
/** The api's queries are counted for so long while everybody waits. */
const QUIET_MS = 2_000;
/** Connections that are opened at once. */
const AT_ONCE = 50;
/** How much more one query more or less in the counted time may make. */
const TARGET = 1.25;

/** How clients wait, and how many of them for one operation. */
interface Crowd {
  readonly how: "Prefer: wait" | "server-sent events";
  readonly forEach: number;
}

const CROWDS: readonly Crowd[] = [
  { how: "Prefer: wait", forEach: Number.POSITIVE_INFINITY },
  { how: "server-sent events", forEach: Number.POSITIVE_INFINITY },
  { how: "Prefer: wait", forEach: 10 },
  { how: "server-sent events", forEach: 10 },
];

interface Round {
  readonly queriesPerSecond: number;
  /** The most that the api has needed so far. */
  readonly rssMib: number;
  /** From the end of the operation to the last client's answer. */
  readonly answeredMs: number;
}

/**
 * Statements per second that one api process sends while many clients wait, all for one operation or ten for each of
 * many, against few; with how much memory it needs, and how long after the end of the operations, all in one moment, the
 * last client has its answer.
 */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  const options = { ...OPTIONS, ...given };
  const results: BenchResult[] = [];
  for (const crowd of CROWDS) {
    // A process of its own for each: its memory is the waiters', not what went before.
    const place = await openPostgres();
    const server = await place.start("operations-app");
    try {
      results.push(await measure(place, server, crowd, options));
    } finally {
      await server.stop();
      await place.close();
    }
  }
  return results;
}

async function measure(
  place: BenchPlace,
  server: BenchServer,
  crowd: Crowd,
  { rounds, many, few }: typeof OPTIONS,
): Promise<BenchResult> {
  const token = await tokenOf(server);
  const crowds: Round[] = [];
  const groups: Round[] = [];
  for (let round = 0; round < rounds; round += 1) {
    groups.push(await waitTogether(place, server, token, crowd, few));
    crowds.push(await waitTogether(place, server, token, crowd, many));
  }
  const of = (list: readonly Round[], what: keyof Round): number[] => list.map((one) => one[what]);
  const rss = Math.max(...of(crowds, "rssMib"));
  const answered = Math.max(...of(crowds, "answeredMs"));
  const result = compare({
    name: `waiting by ${crowd.how}${crowd.forEach < many ? `, ${crowd.forEach} for each operation` : ""}`,
    unit: "statements/s",
    better: "less",
    sides: [
      { name: `${many} clients`, samples: of(crowds, "queriesPerSecond") },
      { name: `${few} clients`, samples: of(groups, "queriesPerSecond") },
    ],
    target: TARGET,
    notes: [
      `the most memory that the api needed (VmHWM): ${rss.toFixed(0)} MiB (limit ${MAX_RSS_MIB}): ${rss < MAX_RSS_MIB ? "met" : "MISSED"}`,
      `last answer after the end, the worst round: ${answered.toFixed(0)} ms (limit ${MAX_ANSWER_MS}; median ${median(of(crowds, "answeredMs")).toFixed(0)}): ${answered < MAX_ANSWER_MS ? "met" : "MISSED"}`,
    ],
  });
  return { ...result, passed: result.passed && rss < MAX_RSS_MIB && answered < MAX_ANSWER_MS };
}

async function waitTogether(
  place: BenchPlace,
  server: BenchServer,
  token: string,
  { how, forEach }: Crowd,
  count: number,
): Promise<Round> {
  const ids = (await server.ask(`preload ${Math.ceil(count / forEach) || 1}`))["ids"] as string[];
  const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });
  const urls = ids.map((id) => {
    const path = `/api/v1/operations/${id}${how === "Prefer: wait" ? "" : "/events"}`;
    return new URL(path, String(server.ready["url"]));
  });
  const headers = { authorization: `Bearer ${token}`, prefer: "wait=60" };
  const answers: Promise<number>[] = [];
  let asked = 0;
  while (asked < count) {
    for (let more = 0; more < AT_ONCE && asked < count; more += 1, asked += 1) {
      answers.push(done(urls[asked % urls.length] as URL, headers, agent));
    }
    while (Number((await server.ask("load"))["waiting"]) < asked) await delay(5);
  }
  const before = await server.ask("load");
  await delay(QUIET_MS);
  const after = await server.ask("load");
  // As workers end them, with the signals.
  const endedAt = performance.now();
  await place.query(
    `WITH ended AS (
       UPDATE operations SET status = 'succeeded', finished_at = now(), revision = revision + 1
       WHERE id = ANY($1::uuid[]) RETURNING id::text)
     SELECT pg_notify('gatehouse:operation.changed', id) FROM ended`,
    [ids],
  );
  const times = await Promise.all(answers);
  agent.destroy();
  return {
    queriesPerSecond: (Number(after["statements"]) - Number(before["statements"])) / (QUIET_MS / 1_000),
    rssMib: Number((await server.ask("load"))["rss"]) / 1_024 / 1_024,
    answeredMs: times.reduce((latest, time) => Math.max(latest, time), 0) - endedAt,
  };
}

/** When the client has been told that the operation is done. */
function done(url: URL, headers: Readonly<Record<string, string>>, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, headers }, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      answer.on("end", () => {
        if (body.includes('"done":true')) resolve(performance.now());
        else reject(new Error(`${answer.statusCode}: not done`));
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
