import autocannon, { type Request } from "autocannon";
import type { BenchServer } from "./child.js";
import type { BenchSide } from "./report.js";

/** One side: which server is asked what. */
export interface LoadSide {
  readonly name: string;
  readonly server: BenchServer;
  readonly url: string;
  readonly requests: readonly Request[];
}

export interface LoadOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
}

interface Round {
  readonly perSecond: number;
  readonly cpuMicros: number;
}

/** Loads both sides in turn, so that what else the machine does meets both alike. The first round of each warms up. */
export async function interleave(
  sides: readonly [LoadSide, LoadSide],
  options: LoadOptions,
): Promise<[BenchSide, BenchSide]> {
  const found: [Round[], Round[]] = [[], []];
  for (let round = 0; round <= options.rounds; round += 1) {
    // Every other round the other way about: who goes second has no advantage.
    for (const which of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
      const result = await load(sides[which], options);
      if (round > 0) found[which].push(result);
    }
  }
  return [toSide(sides[0], found[0]), toSide(sides[1], found[1])];
}

function toSide(side: LoadSide, rounds: readonly Round[]): BenchSide {
  return {
    name: side.name,
    samples: rounds.map((round) => round.perSecond),
    cpuMicros: rounds.map((round) => round.cpuMicros),
  };
}

async function load(side: LoadSide, { seconds, connections }: LoadOptions): Promise<Round> {
  const before = await side.server.cpuMicros();
  const result = await autocannon({
    url: side.url,
    duration: seconds,
    connections,
    // A thread of its own, and the servers are processes of their own.
    workers: 1,
    requests: [...side.requests],
  });
  const used = (await side.server.cpuMicros()) - before;
  if (result.non2xx > 0 || result.errors > 0) {
    throw new Error(`${side.name}: ${result.non2xx} answers were not 2xx, ${result.errors} requests failed`);
  }
  const answered = result["2xx"];
  return { perSecond: answered / result.duration, cpuMicros: used / answered };
}
