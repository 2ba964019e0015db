import { randomInt } from "node:crypto";
import { expect, test } from "vitest";
import { backendNames } from "../support/backends.js";
import { describe as tell } from "./driver/report.js";
import { runRound } from "./driver/round.js";

/** Not asked a second time, in CI neither: another round is another round. */
const LIMIT = { timeout: 400_000, retry: 0 };
const FAULT_MS = 30_000;
/** Others test on the machine meanwhile. */
const FEWEST = 100;

test.each(backendNames())(
  "on %s: what clients were promised holds through a round of random faults",
  LIMIT,
  async (backend) => {
    const seed = randomInt(2 ** 32);
    const options = { faultMs: FAULT_MS, clients: 40, fewest: FEWEST, keepLogs: null };
    const report = await runRound({ seed, backend, ...options });
    console.log(`a round of faults on ${backend}:\n${tell(report)}`);
    expect(report.findings, `npm run faults -- --seed ${seed} --backend ${backend}`).toEqual([]);
  },
);
