import autocannon, { type Request } from "autocannon";
import type { BenchServer } from "./child.js";
import { machineBusyMs, ownBusyMs } from "./noise.js";
import { type BenchSide, median } from "./report.js";

/** One side: which server is asked what. */
export interface LoadSide {
  readonly name: string;
  readonly server: BenchServer;
  readonly url: string;
  readonly requests: readonly Request[];
}

export interface LoadOptions {
  /** How many rounds of each side count. */
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
}

interface Round {
  readonly perSecond: number;
  readonly cpuMicros: number;
  /** How much of one processor everybody else used meanwhile; 0 where the machine does not tell. */
  readonly foreign: number;
}

type Pair = readonly [Round, Round];

/** More of one processor than this, and what a pair of rounds measured is somebody else's work. */
const MAX_FOREIGN = 0.15;
/** How many pairs are tried for each that counts, on a machine that has other things to do. */
const PATIENCE = 4;

/** What `interleave` measured, and how quiet the machine was. */
export interface Interleaved {
  readonly sides: readonly [BenchSide, BenchSide];
  readonly note: string;
}

/**
 * Loads both sides in turn, so that what else the machine does meets both alike; the first round of each warms up.
 * Pairs of rounds in which the machine was busy with something else are repeated; where it never gets quiet, the
 * quietest pairs count.
 */
export async function interleave(
  sides: readonly [LoadSide, LoadSide],
  options: LoadOptions,
): Promise<Interleaved> {
  await pair(sides, options, false);
  const pairs: Pair[] = [];
  const quiet = (): number => pairs.filter((each) => noiseOf(each) <= MAX_FOREIGN).length;
  while (quiet() < options.rounds && pairs.length < options.rounds * PATIENCE) {
    // Every other pair the other way about: who goes second has no advantage.
    pairs.push(await pair(sides, options, pairs.length % 2 === 1));
  }
  const counted = pairs.toSorted((a, b) => noiseOf(a) - noiseOf(b)).slice(0, options.rounds);
  const most = Math.max(...counted.map(noiseOf));
  return {
    sides: [
      toSide(
        sides[0],
        counted.map(([round]) => round),
      ),
      toSide(
        sides[1],
        counted.map(([, round]) => round),
      ),
    ],
    note:
      `${counted.length} of ${pairs.length} pairs of rounds count: the quietest; ` +
      `others used up to ${most.toFixed(2)} of a processor in them (median ${median(counted.map(noiseOf)).toFixed(2)})`,
  };
}

function noiseOf([a, b]: Pair): number {
  return Math.max(a.foreign, b.foreign);
}

async function pair(
  [first, second]: readonly [LoadSide, LoadSide],
  options: LoadOptions,
  reversed: boolean,
): Promise<Pair> {
  if (!reversed) return [await load(first, options), await load(second, options)];
  const b = await load(second, options);
  return [await load(first, options), b];
}

function toSide(side: LoadSide, rounds: readonly Round[]): BenchSide {
  return {
    name: side.name,
    samples: rounds.map((round) => round.perSecond),
    cpuMicros: rounds.map((round) => round.cpuMicros),
  };
}

async function load(side: LoadSide, { seconds, connections }: LoadOptions): Promise<Round> {
  const machine = machineBusyMs();
  const own = ownBusyMs();
  const server = await side.server.cpuMicros();
  const started = performance.now();
  const result = await autocannon({
    url: side.url,
    duration: seconds,
    connections,
    // A thread of its own, and the servers are processes of their own.
    workers: 1,
    requests: [...side.requests],
  });
  const used = (await side.server.cpuMicros()) - server;
  if (result.non2xx > 0 || result.errors > 0) {
    throw new Error(`${side.name}: ${result.non2xx} answers were not 2xx, ${result.errors} requests failed`);
  }
  const elapsed = performance.now() - started;
  const ours = ownBusyMs() - own + used / 1_000;
  const all = machineBusyMs();
  const foreign = machine === null || all === null ? 0 : Math.max(0, (all - machine - ours) / elapsed);
  const answered = result["2xx"];
  return { perSecond: answered / result.duration, cpuMicros: used / answered, foreign };
}
