/** What two sides measured, round by round. */
export interface Turns {
  readonly ours: readonly number[];
  readonly other: readonly number[];
}

/**
 * Measures two sides in rounds that take turns: every other one the other way about, after one of each that only
 * warms up. They are given the number of the round, from 0.
 */
export async function inTurns(
  rounds: number,
  ours: (round: number) => Promise<number>,
  other: (round: number) => Promise<number>,
): Promise<Turns> {
  const samples = { ours: [] as number[], other: [] as number[] };
  for (let round = 0; round <= rounds; round += 1) {
    const first = round % 2 === 0 ? await other(round) : null;
    const own = await ours(round);
    const others = first ?? (await other(round));
    if (round === 0) continue;
    samples.ours.push(own);
    samples.other.push(others);
  }
  return samples;
}
