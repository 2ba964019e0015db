import { writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "../../support/until.js";
import { ACTORS } from "./actors/all.js";
import {
  checkDeserted,
  checkJob,
  checkLedger,
  countOperations,
  isAllDone,
  type OperationCount,
} from "./checks.js";
import { strikeFor } from "./faults.js";
import { type OpenSite, openSite } from "./installation.js";
import type { Member } from "./member.js";
import { Random } from "./random.js";
import type { Site } from "./site.js";
import { checkTicks } from "./ticks.js";

export interface RoundOptions {
  readonly seed: number;
  readonly backend: "postgres" | "redis";
  /** How long things go wrong. */
  readonly faultMs: number;
  /** Clients that are busy at the same time. */
  readonly clients: number;
  /** A round of fewer operations shows nothing. */
  readonly fewest: number;
  /** Where the logs of all processes are written after a round that has not passed; null: nowhere. */
  readonly keepLogs: string | null;
}

/** What came of a round. */
export interface RoundReport {
  readonly seed: number;
  readonly backend: "postgres" | "redis";
  /** Empty: it has passed. */
  readonly findings: readonly string[];
  readonly faults: [name: string, count: number][];
  readonly answers: [name: string, count: number][];
  readonly outcomes: [name: string, count: number][];
  readonly operations: readonly OperationCount[];
  /** How long each part of the round took, in milliseconds. `calm` is from the last fault to the end of all operations. */
  readonly parts: readonly (readonly [name: string, ms: number])[];
}

/** One operation of so many is a run at least. */
const RUNS_OF = 20;
/** What was accepted has this long to end, once nothing goes wrong any more. */
const CALM_LIMIT_MS = 60_000;
/** Processes that were killed last have this long to be there again, before that: on a busy machine they have taken 35 s. */
const READY_LIMIT_MS = 90_000;

/** One round: clients work while things go wrong, then there is calm, then everything is looked at. */
export async function runRound(options: RoundOptions): Promise<RoundReport> {
  const { seed, backend, faultMs, clients, fewest } = options;
  const random = new Random(seed);
  const parts = new Stopwatch();
  const site = await openSite(backend, random);
  parts.lap("start");
  let operations: RoundReport["operations"] = [];
  try {
    const working = { goesOn: true };
    const busy = Array.from({ length: clients }, () => keepBusy(site, random.fork(), working));
    await strikeFor(site, random.fork(), faultMs);
    working.goesOn = false;
    site.witness.calm();
    parts.lap("faults");
    await Promise.all(site.members.map((member) => back(site, member)));
    parts.lap("all processes back");
    await calm(site, busy);
    parts.lap("calm");
    await look(site);
    operations = await countOperations(site);
    checkCounts(site, operations, fewest);
    parts.lap("checks");
    await Promise.all(site.members.map((member) => member.retire()));
    await checkDeserted(site);
    checkLogs(site);
    parts.lap("end");
  } catch (error) {
    site.findings.add(`the round itself has failed: ${error instanceof Error ? error.stack : String(error)}`);
  } finally {
    await finish(site, options);
  }
  return {
    ...{ seed, backend, parts: parts.laps, operations, findings: site.findings.all() },
    faults: site.faults.entries(),
    answers: site.answers.entries(),
    outcomes: site.outcomes.entries(),
  };
}

/** A client that does one thing after the other. */
async function keepBusy(site: Site, random: Random, working: { readonly goesOn: boolean }): Promise<void> {
  while (working.goesOn) {
    await random.weighted(ACTORS).act(site, random);
    await delay(random.int(5, 150));
  }
}

async function back({ findings }: Site, member: Member): Promise<void> {
  await member.ready(READY_LIMIT_MS).catch((error: unknown) => findings.add(`after the last fault ${error}`));
}

class Stopwatch {
  readonly laps: [name: string, ms: number][] = [];
  #since = performance.now();

  lap(name: string): void {
    const now = performance.now();
    this.laps.push([name, Math.round(now - this.#since)]);
    this.#since = now;
  }
}

/** Waits until clients have their answers and operations have ended. */
async function calm(site: Site, busy: readonly Promise<void>[]): Promise<void> {
  const began = performance.now();
  const limit = new AbortController();
  const late = delay(CALM_LIMIT_MS, false, { signal: limit.signal }).catch(() => false);
  const answered = await Promise.race([Promise.all(busy).then(() => true), late]);
  limit.abort();
  if (!answered) {
    site.findings.add(`not within ${CALM_LIMIT_MS} ms of calm: clients have their answers`);
    site.api.close();
    await Promise.all(busy);
  }
  const left = Math.max(1_000, CALM_LIMIT_MS - (performance.now() - began));
  // What has not ended by then is found, with its id, in the ledger.
  await until("everything has ended", () => isAllDone(site), left).catch(() => {});
}

async function look(site: Site): Promise<void> {
  await checkLedger(site);
  await checkTicks(site);
  await site.witness.check(site);
  for (const job of site.jobs) await checkJob(site, job);
}

function checkCounts({ findings }: Site, operations: readonly OperationCount[], fewest: number): void {
  const count = (type: string): number =>
    operations.reduce((sum, one) => sum + (one.name.startsWith(type) ? one.count : 0), 0);
  if (count("") < fewest || count("sync") < fewest / RUNS_OF)
    findings.add(`${count("")} operations, ${count("sync")} of them runs: too few to show anything`);
  if (operations.every(({ repeated }) => repeated === 0))
    findings.add("no operation had a second attempt: the faults have met none");
}

function checkLogs({ members, findings }: Site): void {
  for (const member of members) {
    for (const { msg, operationId, err } of member.errors()) {
      const cause = (err as { stack?: string } | undefined)?.stack ?? "";
      findings.add(`${member.name} logged an error: ${msg} ${operationId ?? ""} ${cause}`);
    }
  }
}

async function finish(site: OpenSite, { seed, backend, keepLogs }: RoundOptions): Promise<void> {
  if (keepLogs !== null && site.findings.all().length > 0) {
    for (const member of site.members)
      await writeFile(`${keepLogs}/faults-${backend}-${seed}-${member.name}.log`, member.output());
  }
  const left = await site.close();
  if (left.length > 0) site.findings.add(`processes that did not end: ${left.join(", ")}`);
}
