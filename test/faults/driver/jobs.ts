import { join } from "node:path";
import type { ApiClient } from "./client.js";
import type { DatabaseServer } from "./database-server.js";
import { type Found, lookAtFolder, lookAtSchema, warehouseName } from "./destinations.js";
import type { Random } from "./random.js";
import { CONTENT, type Content, databaseOf, type Source } from "./sources.js";
import { FREQUENCY } from "./ticks.js";

/** A job of a round. */
export interface Job {
  readonly id: string;
  /** By which the project API knows it. */
  readonly number: number;
  readonly name: string;
  /** What its destination has to hold after a run. */
  readonly content: Content;
  /** Whether its destination counts every effect, or shows the last alone. */
  readonly countsEffects: boolean;
  /** What happens to a tick of its schedule while it runs; null: it has none. */
  readonly overlap: "skip" | "queue" | null;
  /** As it was created; sent again it is a new version. */
  readonly body: object;
  look(): Promise<Found>;
}

export interface Stores {
  readonly server: DatabaseServer;
  /** Of the proxy in front of it. */
  readonly port: () => number;
  readonly filesRoot: string;
}

const ROUTES: readonly (readonly [from: Source, to: "warehouse" | "folder"])[] = [
  ["files", "folder"],
  ["files", "warehouse"],
  ["database", "warehouse"],
  ["database", "folder"],
  ["slow-database", "warehouse"],
  ["slow-database", "folder"],
];
/** Of each kind: four that only clients start, and one that a schedule starts too. */
const OF_EACH = 5;

export const JOBS_PATH = "/api/v1/project/1/jobs";

/** Five jobs of each kind, each with a destination of its own. */
export async function createJobs(api: ApiClient, stores: Stores, random: Random): Promise<Job[]> {
  const jobs: Job[] = [];
  for (const [route, [from, to]] of ROUTES.entries()) {
    for (let i = 1; i <= OF_EACH; i++) {
      const name = `${from}_to_${to}_${i}`.replaceAll("-", "_");
      const overlap = i < OF_EACH ? null : route % 2 === 0 ? "skip" : "queue";
      jobs.push(await createJob(api, stores, random, { name, from, to, overlap }));
    }
  }
  return jobs;
}

interface Plan {
  readonly name: string;
  readonly from: Source;
  readonly to: "warehouse" | "folder";
  readonly overlap: Job["overlap"];
}

async function createJob(api: ApiClient, stores: Stores, random: Random, plan: Plan): Promise<Job> {
  const { name, from, to, overlap } = plan;
  const body = {
    name,
    source: { name: `from ${name}`, ...sourceOf(stores, from) },
    destination: { name: `to ${name}`, ...destinationOf(stores, plan) },
    ...(overlap === null ? { frequency: "" } : { frequency: FREQUENCY, overlap }),
    streams_config: {},
  };
  const answer = await api.send({ name: "create job", method: "POST", path: JOBS_PATH, body }, random);
  if (answer?.status !== 200) throw new Error(`no job: ${JSON.stringify(answer?.body)}`);
  const { id: number } = (answer.body as { data: { id: number } }).data;
  const [row] = await stores.server.query<{ id: string }>(
    "gatehouse",
    "SELECT id FROM jobs WHERE number = $1",
    [number],
  );
  const id = row?.id ?? "";
  const folder = join(stores.filesRoot, "out", name);
  return {
    ...{ id, number, name, overlap, body, content: CONTENT[from], countsEffects: to === "warehouse" },
    look: () => (to === "warehouse" ? lookAtSchema(stores.server, name, id) : lookAtFolder(folder, id)),
  };
}

/** The configuration of a source, as it stands in a request. */
export function sourceOf(stores: Stores, from: Source): object {
  if (from === "files") return { type: "file", version: "1.0.0", config: { path: "in/*.csv" } };
  return postgres(stores, databaseOf(from));
}

function destinationOf(stores: Stores, { name, to }: Plan): object {
  if (to === "folder") return { type: "file", version: "1.0.0", config: { path: `out/${name}` } };
  return postgres(stores, warehouseName, { schema: name });
}

function postgres({ server, port }: Stores, database: string, more: object = {}): object {
  const { username, password } = new URL(server.url(database));
  const config = { host: "127.0.0.1", port: port(), database, username, password, ...more };
  return { type: "postgres", version: "1.0.0", config };
}
