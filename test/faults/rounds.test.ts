import { randomInt } from "node:crypto";
import { expect, test } from "vitest";
import { backendNames } from "../support/backends.js";
import { describe as tell } from "./driver/report.js";
import { runRound } from "./driver/round.js";

/** Asked a second time in CI like all tests on real processes: the report of a first round that failed stands in the log. */
const LIMIT = { timeout: 400_000 };
const FAULT_MS = 30_000;
/** Others test on the machine meanwhile, and processes need most of this time to come back. */
const FEWEST = 20;

test.each(backendNames())(
  "on %s: what clients were promised holds through a round of random faults",
  LIMIT,
  async (backend) => {
    const seed = randomInt(2 ** 32);
    const options = { faultMs: FAULT_MS, clients: 24, fewest: FEWEST, keepLogs: null };
    const report = await runRound({ seed, backend, ...options });
    console.log(`a round of faults on ${backend}:\n${tell(report)}`);
    expect(report.findings, `npm run faults -- --seed ${seed} --backend ${backend}`).toEqual([]);
  },
);
