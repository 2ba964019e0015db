import { findGraphPrograms } from "../../src/engines/graph/programs.js";
import { findPostgresPrograms } from "../../src/engines/postgres/programs.js";
import { query } from "../../test/support/query.js";
import { type ByHand, startGraph, startPostgres } from "../support/by-hand.js";
import { type Installed, openInstalled } from "../support/databases.js";
import { cypher } from "../support/graphs.js";
import { type BenchResult, compare, print } from "../support/report.js";
import { inTurns } from "../support/turns.js";

const OPTIONS = { rounds: 5 };
const TARGET = 1.3;
/** For the request, the operation and whatever else is the same for a large database and a small one. */
const ALLOWANCE_MS = 300;

/** Milliseconds until the first query was answered. */
interface Sides {
  readonly ask: (url: string) => Promise<unknown>;
  readonly byHand: () => Promise<ByHand>;
}

/**
 * Milliseconds from the request for a database to the answer to its first query, against the same server started by
 * hand, from the making of its folder on.
 */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  const { rounds } = { ...OPTIONS, ...given };
  const installed = await openInstalled();
  try {
    const results: BenchResult[] = [];
    for (const [engine, sides] of Object.entries(await sidesOf(installed)))
      if (await installed.offers(engine)) results.push(await measure(installed, engine, sides, rounds));
    return results;
  } finally {
    await installed.close();
  }
}

async function sidesOf({ plan }: Installed): Promise<Readonly<Record<string, Sides>>> {
  const graphs = await findGraphPrograms();
  const [programs] = await findPostgresPrograms("");
  const absent = () => Promise.reject(new Error("its programs were not found"));
  return {
    graphneo: {
      ask: (url) => cypher(url, "RETURN 1"),
      byHand: () => ("missing" in graphs ? absent() : startGraph(graphs, plan)),
    },
    postgres: {
      ask: (url) => query(url, "SELECT 1"),
      byHand: () => (programs === undefined ? absent() : startPostgres(programs, plan)),
    },
  };
}

async function measure(
  installed: Installed,
  engine: string,
  { ask, byHand }: Sides,
  rounds: number,
): Promise<BenchResult> {
  const ours = async (round: number): Promise<number> => {
    const start = performance.now();
    const { id, connectionUrl } = await installed.create(engine, `${engine} ${round}`);
    await ask(connectionUrl);
    const ms = performance.now() - start;
    await installed.done("terminate", id, { finalSnapshot: false });
    return ms;
  };
  const hand = async (): Promise<number> => {
    const start = performance.now();
    const server = await byHand();
    await ask(server.url);
    const ms = performance.now() - start;
    await server.remove();
    return ms;
  };
  const samples = await inTurns(rounds, ours, hand);
  return compare({
    name: `create ${engine}`,
    unit: "ms",
    better: "less",
    sides: [
      { name: "gatehouse, from the request to the first answer", samples: samples.ours },
      { name: "by hand", samples: samples.other },
    ],
    target: TARGET,
    allowance: ALLOWANCE_MS,
  });
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
