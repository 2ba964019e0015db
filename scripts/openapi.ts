/**
 * npm run openapi              writes openapi.yaml from the schemas of the routes
 * npm run openapi -- --check   fails where the file and the routes differ, either way, and says where
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type {} from "@fastify/swagger";
import { pino } from "pino";
import { parse, stringify } from "yaml";
import { assembleAccess } from "../src/access.js";
import { buildServices, limitsOf } from "../src/api.js";
import { buildApp } from "../src/app.js";
import type { SigningKeys } from "../src/auth/keys.js";
import { loadConfig } from "../src/config.js";
import { Dispatcher } from "../src/operations/dispatcher.js";
import { Ledger } from "../src/operations/ledger.js";
import type { OperationQueue } from "../src/operations/queue.js";
import { Waiters } from "../src/operations/waiters.js";
import { FolderBlobs } from "../src/platform/blobs.js";
import { systemClock } from "../src/platform/clock.js";
import { MasterKey } from "../src/platform/crypto.js";
import { createMetrics } from "../src/platform/metrics.js";
import { createPrisma } from "../src/platform/prisma.js";
import type { Signals } from "../src/platform/signals.js";
import { Database } from "../src/platform/sql.js";
import { VERSION } from "../src/version.js";

const FILE = join(import.meta.dirname, "../openapi.yaml");
/** Never reached: clients connect with their first query, and no request is ever made here. */
const NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing";
const METHODS = ["get", "post", "put", "patch", "delete"];
const LONGEST_DIFF = 20;

type Node = Readonly<Record<string, unknown>>;

/** The document that the routes describe, as text. The app is built in full, connected to nothing. */
export async function describeRoutes(): Promise<string> {
  const config = loadConfig({ LOG_LEVEL: "silent" }, join(import.meta.dirname, ".."));
  const logger = pino({ level: "silent" });
  const masterKey = new MasterKey(MasterKey.generate());
  const metrics = createMetrics(VERSION);
  const prisma = createPrisma(NOWHERE, 1);
  const db = new Database(NOWHERE, 1, logger);
  const ledger = new Ledger(db);
  const dispatcher = new Dispatcher(db, noQueue, logger);
  const waiters = new Waiters(db, noSignals);
  const signals = noSignals;
  const runtime = {
    config,
    databaseUrl: NOWHERE,
    logger,
    metrics,
    masterKey,
    prisma,
    db,
    signals,
    ledger,
    dispatcher,
    blobs: new FolderBlobs(config.blobsRoot),
  };
  const access = assembleAccess(runtime, noKeys, systemClock);
  const app = await buildApp({
    version: VERSION,
    ...{ logger, metrics, tracer: null },
    corsOrigins: config.corsOrigins,
    trustProxy: [],
    services: buildServices(runtime, waiters, access),
    access,
    limits: limitsOf(config),
  });
  await app.ready();
  const document = arrange(app.swagger() as unknown as Node);
  await app.close();
  waiters.close();
  await access.close();
  await db.close();
  return stringify(document, { lineWidth: 110, aliasDuplicateObjects: false });
}

const noKeys: SigningKeys = {
  get active(): never {
    throw new Error("there is no signing key here");
  },
  jwks: { keys: [] },
  publicPem: () => null,
  reload: async () => {},
  close: () => {},
};

const noQueue: Pick<OperationQueue, "send"> = { send: async () => {} };

const noSignals: Signals = {
  publish: async () => {},
  subscribe: () => () => {},
  close: async () => {},
};

/** The same document in an order that no plugin's order of registration changes. */
function arrange(document: Node): Node {
  const { components, paths, ...rest } = structuredClone(document) as { components: Node; paths: Node };
  return {
    ...rest,
    paths: Object.fromEntries(sorted(paths).map(([path, item]) => [path, arrangeItem(item as Node)])),
    components: { ...components, schemas: Object.fromEntries(sorted(components["schemas"] as Node)) },
  };
}

function arrangeItem(item: Node): Node {
  return Object.fromEntries(Object.entries(item).sort(([a], [b]) => METHODS.indexOf(a) - METHODS.indexOf(b)));
}

function sorted(node: Node): [string, unknown][] {
  return Object.entries(node).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Where two documents differ, in words, one line each: nothing where they mean the same. */
export function differences(file: unknown, routes: unknown, at = ""): string[] {
  if (isDeepStrictEqual(file, routes)) return [];
  if (!isNode(file) || !isNode(routes))
    return [`~ ${at}: ${brief(file)} in the file, ${brief(routes)} in the routes`];
  return [...new Set([...Object.keys(file), ...Object.keys(routes)])].flatMap((key) => {
    const place = at === "" ? key : `${at} > ${key}`;
    if (!(key in file)) return [`+ ${place}: only in the routes`];
    if (!(key in routes)) return [`- ${place}: only in the file`];
    return differences(file[key], routes[key], place);
  });
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 50 ? `${text.slice(0, 47)}...` : text;
}

async function main(args: readonly string[]): Promise<number> {
  const described = await describeRoutes();
  if (!args.includes("--check")) {
    writeFileSync(FILE, described);
    console.log(`openapi.yaml written (${described.split("\n").length} lines)`);
    return 0;
  }
  const kept = existsSync(FILE) ? readFileSync(FILE, "utf8") : "";
  if (kept === described) {
    console.log("openapi.yaml is what the routes say");
    return 0;
  }
  const found = differences(parse(kept) ?? {}, parse(described));
  // The same content in another form is drift too: the next change would drown in it.
  const lines = found.length > 0 ? found : ["the content is the same, its form is not"];
  const more = lines.length - LONGEST_DIFF;
  console.error("openapi.yaml is not what the routes say (write it again with: npm run openapi)");
  for (const line of lines.slice(0, LONGEST_DIFF)) console.error(`  ${line}`);
  if (more > 0) console.error(`  ... and ${more} more`);
  return 1;
}

if (process.argv[1] === import.meta.filename) process.exitCode = await main(process.argv.slice(2));
