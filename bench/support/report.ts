/** One side of a comparison: what each of its rounds gave. */
export interface BenchSide {
  readonly name: string;
  /** One per round, in the result's unit. */
  readonly samples: readonly number[];
  /** Processor time of the serving process per request, in microseconds: steadier than rates on a busy machine. */
  readonly cpuMicros?: readonly number[];
}

/** What a benchmark found: the first side is ours, the second what it is measured against. */
export interface BenchResult {
  readonly name: string;
  readonly unit: string;
  readonly sides: readonly [BenchSide, BenchSide];
  /**
   * Median over the rounds of the first side by the second's of the same turn: what else the machine does, and how
   * fast it just is, meets both alike.
   */
  readonly ratio: number;
  /** What the ratio has to reach; where less is better, what it must not pass. */
  readonly target: number;
  /** Of ours, in the result's unit, that is granted besides: taken off before the ratio is made. Default: nothing. */
  readonly allowance?: number;
  /** Default: more is better. */
  readonly better?: "more" | "less";
  readonly passed: boolean;
  readonly notes: readonly string[];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Puts the rounds of two sides together. */
export function compare(
  given: Pick<BenchResult, "name" | "unit" | "sides" | "target" | "better" | "allowance"> & {
    readonly notes?: readonly string[];
  },
): BenchResult {
  const [ours, other] = given.sides;
  const { allowance = 0 } = given;
  const ratio = median(
    ours.samples.map((sample, round) => (sample - allowance) / (other.samples[round] ?? Number.NaN)),
  );
  const passed = given.better === "less" ? ratio <= given.target : ratio >= given.target;
  return { ...given, ratio, passed, notes: given.notes ?? [] };
}

/** What has no other side but a limit that it must not pass. */
export function within(
  name: string,
  unit: string,
  ours: BenchSide,
  limit: number,
  notes: readonly string[] = [],
): BenchResult {
  const most = { name: "the limit", samples: ours.samples.map(() => limit) };
  return compare({ name, unit, sides: [ours, most], target: 1, better: "less", notes });
}

/** A result as a table for people. */
export function table(result: BenchResult): string {
  const rows = result.sides.map((side) => [
    side.name,
    round(median(side.samples)),
    `${round(Math.min(...side.samples))} - ${round(Math.max(...side.samples))}`,
    String(side.samples.length),
    side.cpuMicros === undefined ? "" : `${round(median(side.cpuMicros))} µs`,
  ]);
  const lines = [["", `median ${result.unit}`, "spread", "rounds", "cpu per request"], ...rows];
  const widths =
    lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  const body = lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const limit = result.better === "less" ? "at most" : "at least";
  const granted = result.allowance === undefined ? "" : ` and ${result.allowance} ${result.unit}`;
  const verdict = `ratio ${result.ratio.toFixed(3)} (${limit} ${result.target}${granted}): ${result.passed ? "met" : "MISSED"}`;
  return [`# ${result.name}`, ...body, verdict, ...result.notes.map((note) => `- ${note}`), ""].join("\n");
}

function round(value: number): string {
  const digits = Math.abs(value) < 100 ? 2 : 0;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

/** Prints a result as a table and as one line of JSON. */
export function print(result: BenchResult): void {
  process.stdout.write(`${table(result)}${JSON.stringify(result)}\n`);
}
