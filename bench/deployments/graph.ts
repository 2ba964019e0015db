import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { findGraphPrograms } from "../../src/engines/graph/programs.js";
import { type ByHand, startGraph } from "../support/by-hand.js";
import { type Installed, openInstalled } from "../support/databases.js";
import { asClient, cypher } from "../support/graphs.js";
import { peakMemoryMib } from "../support/processes.js";
import { type BenchResult, compare, print, within } from "../support/report.js";
import { inTurns } from "../support/turns.js";

const OPTIONS = { rounds: 5, mib: 1_024 };
const TARGET = 1.15;
/** Of the worker, while it imports. */
const MAX_RSS_MIB = 200;
const MIB = 1_024 ** 2;
const FILE = "graph.rdb";
/** Every other node has a text of 16 KiB that cannot be compressed. */
const TEXT_BYTES = 16_384;
const TEXTS = Array.from({ length: 64 }, () => randomBytes((TEXT_BYTES * 3) / 4).toString("base64"));

/**
 * A graph of so many MiB: the worker's memory while it is imported, and the seconds of a pause and a resume against those
 * of the same server, started by hand, for saving the same data and loading it again. Before each round a fifth of the
 * nodes is changed, so that there is something to save.
 */
export async function run(given: Partial<typeof OPTIONS> = {}): Promise<BenchResult[]> {
  const { rounds, mib } = { ...OPTIONS, ...given };
  const programs = await findGraphPrograms();
  const installed = await openInstalled();
  let hand: ByHand | null = null;
  try {
    if (!(await installed.offers("graphneo")) || "missing" in programs) return [];
    hand = await startGraph(programs, installed.plan, {
      "appendonly yes": "appendonly no",
      "dbfilename snapshot.rdb": `dbfilename ${FILE}`,
    });
    await fill(hand.url, mib);
    await save(hand);
    const { id, connectionUrl } = await installed.create("graphneo", "graph");
    const imported = await measureImport(installed, id, join(hand.data, FILE));
    const ours = { id, url: connectionUrl };
    return [imported, await measurePower(installed, ours, hand, rounds, mib)];
  } finally {
    await hand?.remove();
    await installed.close();
  }
}

async function fill(url: string, mib: number): Promise<void> {
  const perQuery = TEXTS.length * 16;
  const nodes = (mib * MIB) / TEXT_BYTES;
  await cypher(url, "CREATE INDEX FOR (n:Node) ON (n.id)");
  for (let from = 0; from < nodes; from += perQuery) {
    const upTo = Math.min(nodes, from + perQuery) - 1;
    await cypher(
      url,
      `CYPHER texts=${JSON.stringify(TEXTS)} UNWIND range(${from}, ${upTo}) AS i
       CREATE (:Node {id: i, changed: 0, text: $texts[i % ${TEXTS.length}]})-[:OF]->(:Tag {id: i})`,
    );
  }
}

/** As the account of the administrator could, which customers do not have. */
async function save(hand: ByHand): Promise<void> {
  await asClient(hand.adminUrl, (client) => client.call("SAVE"));
}

async function measureImport(installed: Installed, id: string, file: string): Promise<BenchResult> {
  const { size } = await stat(file);
  const seconds = await installed.importArchive(id, createReadStream(file, { highWaterMark: MIB }));
  const peak = { name: "the worker, since its start", samples: [peakMemoryMib(installed.worker)] };
  return within("import into graphneo", "MiB of memory", peak, MAX_RSS_MIB, [
    `an RDB file of ${(size / MIB).toFixed(0)} MiB, loaded in ${seconds.toFixed(1)} s`,
  ]);
}

async function measurePower(
  installed: Installed,
  ours: { readonly id: string; readonly url: string },
  hand: ByHand,
  rounds: number,
  mib: number,
): Promise<BenchResult> {
  const nodes = (mib * MIB) / TEXT_BYTES;
  const change = (url: string, round: number) =>
    cypher(url, `MATCH (n:Node) WHERE n.id % 5 = 0 SET n.changed = ${round}, n.text = '${round}' + n.text`);
  const counted = async (url: string): Promise<void> => {
    const found = JSON.stringify(await cypher(url, "MATCH (n:Node) RETURN count(n)"));
    if (!found.includes(String(nodes))) throw new Error(`there are not ${nodes} nodes: ${found}`);
  };
  const notes: string[] = [];
  const power = async (round: number): Promise<number> => {
    await change(ours.url, round);
    const start = performance.now();
    await installed.done("pause", ours.id);
    const paused = performance.now();
    await installed.done("resume", ours.id);
    const resumed = performance.now();
    await counted(ours.url);
    notes.push(`${seconds(paused - start)} and ${seconds(resumed - paused)} s`);
    return (resumed - start) / 1_000;
  };
  const handNotes: string[] = [];
  const saveAndLoad = async (round: number): Promise<number> => {
    await change(hand.url, round);
    const start = performance.now();
    await save(hand);
    const saved = performance.now();
    await hand.stop();
    await hand.start();
    const loaded = performance.now();
    await counted(hand.url);
    handNotes.push(`${seconds(saved - start)} and ${seconds(loaded - saved)} s`);
    return (loaded - start) / 1_000;
  };
  const samples = await inTurns(rounds, power, saveAndLoad);
  return compare({
    name: "pause and resume",
    unit: "s",
    better: "less",
    sides: [
      { name: "gatehouse, pause and resume", samples: samples.ours },
      { name: "by hand, SAVE, stop and start", samples: samples.other },
    ],
    target: TARGET,
    notes: [
      `a graph of ${nodes.toLocaleString("en-US")} nodes with ${mib} MiB of text`,
      `pause and resume of each round: ${notes.slice(1).join("; ")}`,
      `save and load of each round: ${handNotes.slice(1).join("; ")}`,
    ],
  });
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(2);
}

if (process.argv[1] === import.meta.filename) for (const result of await run()) print(result);
