import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { inTurns } from "../../src/worker/supervisor/turns.js";
import { until } from "../../test/support/until.js";
import { type Installed, openInstalled } from "../support/databases.js";
import { processorSeconds } from "../support/processes.js";
import { type BenchResult, median, print, within } from "../support/report.js";

const OPTIONS = { rounds: 5, databases: 50, requests: 100, quietSeconds: 60 };
const LIST_MS = 20;
const IDLE_PERCENT = 2;
const AT_ONCE = 8;

/**
 * Of an installation with many databases, half of them graphs: the milliseconds of a list of all, and what its worker,
 * with all that it starts, uses more of a processor than without any while nobody asks for anything.
 */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  const options = { ...OPTIONS, ...given };
  const installed = await openInstalled();
  try {
    const engines: string[] = [];
    for (const engine of ["graphneo", "postgres"]) if (await installed.offers(engine)) engines.push(engine);
    const empty = await idlePercent(installed, options.quietSeconds);
    const numbers = Array.from({ length: options.databases }, (_, index) => index);
    await inTurns(numbers, AT_ONCE, async (number) => {
      await installed.create(engines[number % engines.length] ?? "", `database ${number}`);
    });
    // What a server's first look costs comes once.
    await until("every database was looked at", async () =>
      (await installed.list()).every(({ storageBytes }) => storageBytes !== null),
    );
    const idle = await idlePercent(installed, options.quietSeconds);
    const lists = await listMs(installed, options);
    const counted = `${options.databases} databases: ${engines.join(", ")}`;
    return [
      within("list of databases", "ms", { name: "GET /deployments/databases", samples: lists }, LIST_MS, [
        counted,
        `each round is the median of ${options.requests}`,
      ]),
      within(
        "idle supervisor",
        "% of a processor",
        { name: "the worker, less what it used before there was any", samples: [idle - empty] },
        IDLE_PERCENT,
        [
          `${counted}; ${options.quietSeconds} s`,
          `the whole worker: ${idle.toFixed(2)} %, and before there was any ${empty.toFixed(2)} %`,
        ],
      ),
    ];
  } finally {
    await installed.close();
  }
}

async function idlePercent({ worker }: Installed, seconds: number): Promise<number> {
  const [used, start] = [processorSeconds(worker), performance.now()];
  await delay(seconds * 1_000);
  return ((processorSeconds(worker) - used) / ((performance.now() - start) / 1_000)) * 100;
}

async function listMs(
  { url, token }: Installed,
  { rounds, requests, databases }: typeof OPTIONS,
): Promise<number[]> {
  const agent = new Agent({ keepAlive: true });
  const medians: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const times: number[] = [];
    for (let made = 0; made < requests; made += 1) {
      const start = performance.now();
      const found = JSON.parse(await get(new URL(`${url}/deployments/databases`), token, agent)) as unknown[];
      times.push(performance.now() - start);
      if (found.length !== databases)
        throw new Error(`${found.length} databases are listed, not ${databases}`);
    }
    // The first only warms up.
    if (round > 0) medians.push(median(times));
  }
  agent.destroy();
  return medians;
}

function get(url: URL, token: string, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, headers: { authorization: `Bearer ${token}` } }, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      answer.on("end", () => resolve(body));
    });
    sent.on("error", reject);
    sent.end();
  });
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
