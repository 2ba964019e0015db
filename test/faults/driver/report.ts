import type { RoundReport } from "./round.js";

/** A round in words, for people. */
export function describe(report: RoundReport): string {
  const { seed, backend, findings, faults, answers, outcomes, operations, parts } = report;
  const list = (entries: readonly (readonly [string, number])[]): string =>
    entries.map(([name, count]) => `${name} ${count}`).join(", ");
  const ended = operations.map(({ name, count, attempts }) => `${name} ${count} (${attempts} attempts)`);
  return [
    `  faults: ${list(faults)}`,
    `  requests: ${list(answers)}`,
    `  outcomes: ${list(outcomes)}`,
    `  operations: ${ended.join(", ")}`,
    `  took: ${parts.map(([name, ms]) => `${name} ${(ms / 1_000).toFixed(1)} s`).join(", ")}`,
    findings.length === 0
      ? `  passed: seed ${seed} on ${backend}`
      : `  NOT PASSED: seed ${seed} on ${backend}\n${findings.map((finding) => `  - ${finding}`).join("\n")}`,
  ].join("\n");
}

export function print(report: RoundReport): void {
  console.log(describe(report));
}
