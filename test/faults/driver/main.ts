/**
 * npm run faults -- [--rounds N] [--seed N] [--backend postgres|redis|both] [--seconds N] [--clients N] [--logs FOLDER]
 *
 * Runs rounds of random faults against real processes (docs/faults.md) and prints what came of each. Ends with 1 where
 * one has not passed; its seed makes the same choices again.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { print } from "./report.js";
import { runRound } from "./round.js";

const MAX_SEED = 2 ** 32;
/** Rounds are about hundreds of operations. */
const FEWEST = 150;

const OPTIONS = {
  rounds: { type: "string", default: "1" },
  seed: { type: "string" },
  backend: { type: "string", default: "both" },
  seconds: { type: "string", default: "40" },
  clients: { type: "string", default: "40" },
  logs: { type: "string" },
} as const;

function whole(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new Error(`--${name} must be a whole number, not "${text}"`);
}

function backendsOf(text: string): readonly ("postgres" | "redis")[] {
  if (text === "both") return ["postgres", "redis"];
  if (text === "postgres" || text === "redis") return [text];
  throw new Error(`--backend must be postgres, redis or both, not "${text}"`);
}

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: OPTIONS });
  const rounds = whole("rounds", values.rounds);
  const first = values.seed === undefined ? randomInt(MAX_SEED) : whole("seed", values.seed);
  const faultMs = whole("seconds", values.seconds) * 1_000;
  const clients = whole("clients", values.clients);
  const failed: string[] = [];
  for (let i = 0; i < rounds; i++) {
    const seed = (first + i) % MAX_SEED;
    for (const backend of backendsOf(values.backend)) {
      console.log(`\nround ${i + 1} of ${rounds} on ${backend}: --seed ${seed} --backend ${backend}`);
      const options = { seed, backend, faultMs, clients, fewest: FEWEST, keepLogs: values.logs ?? null };
      const report = await runRound(options);
      print(report);
      if (report.findings.length > 0) failed.push(`--seed ${seed} --backend ${backend}`);
    }
  }
  if (failed.length > 0) console.log(`\nnot passed:\n  ${failed.join("\n  ")}`);
  return failed.length === 0 ? 0 : 1;
}

// An exit in order, which ends everything that was started.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  return 64;
});
