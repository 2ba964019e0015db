import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import type { Credentials, Observed, StorageHold } from "../engine.js";

/** Gatehouse's own account in the server. */
export const ADMIN = "gatehouse";

/** Connections that Gatehouse and unanswered log-ins may use besides the customer's. */
const SPARE_CONNECTIONS = 16;
/** Of the plan's memory: data. The rest is for the server itself, its buffers and what a fork copies. */
const DATA_SHARE = 0.75;

/** What a server is told at its start, and what of that can be told while it runs. */
export interface GraphLimits {
  readonly maxMemory: number;
  readonly maxClients: number;
  /** Of one query. */
  readonly queryMemory: number;
}

export function limitsOf({ place, plan }: Pick<Observed, "place" | "plan">): GraphLimits {
  const maxMemory = Math.floor(place.limits.memoryBytes * DATA_SHARE);
  return {
    maxMemory,
    maxClients: plan.connections + SPARE_CONNECTIONS,
    queryMemory: Math.floor(maxMemory / 2),
  };
}

export interface ServerPaths {
  readonly module: string;
  /** Where the data is. */
  readonly data: string;
  readonly users: string;
  /** What LOAD CSV may read: empty. */
  readonly imports: string;
  readonly temp: string;
}

/** The file in the data folder that a trial loads. */
export const ARCHIVE = "import.rdb";

/** Addresses and port for clients, or a socket for Gatehouse alone; a trial loads `ARCHIVE` and keeps no log yet. */
export type Listening =
  | { readonly port: number; readonly addresses: readonly string[] }
  | { readonly socket: string; readonly trial?: true };

/**
 * The server's configuration. Every write is appended to a log before it is acknowledged, so that a killed server has
 * lost none; the log reaches the disk once a second. Effects are logged instead of queries, which could have another
 * effect when they are run again (rand(), timestamp()).
 */
export function configuration(observed: Observed, paths: ServerPaths, listening: Listening): string {
  const limits = limitsOf(observed);
  const threads = Math.min(4, availableParallelism());
  const module = [
    quoted(paths.module),
    `THREAD_COUNT ${threads} OMP_THREAD_COUNT ${threads} EFFECTS_THRESHOLD 0 MAX_QUEUED_QUERIES 1000`,
    `QUERY_MEM_CAPACITY ${limits.queryMemory}`,
    `IMPORT_FOLDER ${quoted(`${paths.imports}/`)} TEMP_FOLDER ${quoted(paths.temp)}`,
  ].join(" ");
  const address =
    "port" in listening
      ? [`bind ${listening.addresses.join(" ")}`, `port ${listening.port}`]
      : ["port 0", `unixsocket ${quoted(listening.socket)}`, "unixsocketperm 700"];
  return `${[
    ...address,
    "protected-mode no",
    "daemonize no",
    "supervised no",
    'logfile ""',
    "loglevel notice",
    `dir ${quoted(paths.data)}`,
    `aclfile ${quoted(paths.users)}`,
    `loadmodule ${module}`,
    ...("trial" in listening
      ? ["appendonly no", `dbfilename ${ARCHIVE}`]
      : ["appendonly yes", "dbfilename snapshot.rdb"]),
    "appendfsync everysec",
    "appenddirname appendonlydir",
    "appendfilename appendonly.aof",
    "aof-use-rdb-preamble yes",
    "auto-aof-rewrite-percentage 100",
    "auto-aof-rewrite-min-size 32mb",
    'save ""',
    "rdbcompression yes",
    "rdbchecksum yes",
    `maxmemory ${limits.maxMemory}`,
    "maxmemory-policy noeviction",
    "maxmemory-clients 25%",
    `maxclients ${limits.maxClients}`,
    "tcp-keepalive 60",
    "enable-debug-command no",
    "enable-module-command no",
    "enable-protected-configs no",
    "sanitize-dump-payload yes",
  ].join("\n")}\n`;
}

/** Data types and what everybody needs to speak at all; a category holds no command of the module. */
const CATEGORIES =
  "+@string +@hash +@list +@set +@sortedset +@bitmap +@hyperloglog +@geo +@stream +@pubsub +@keyspace " +
  "+@connection +@transaction -@scripting -@admin -@dangerous -migrate -restore -swapdb";
/** Taken away with @dangerous, and harmless in a server of one's own. */
const HARMLESS = "+keys +info +role +flushdb +flushall +sort +sort_ro +command";
const GRAPH_READING =
  "+graph.ro_query +graph.explain +graph.list +graph.slowlog +graph.memory +graph.info +graph.config|get +graph.delete";
const GRAPH_WRITING = "+graph.query +graph.profile +graph.copy +graph.bulk +graph.constraint";
/** Reading, and freeing memory. */
const READ_ONLY = "-@write +del +unlink +flushdb +flushall +expire";

/**
 * The accounts: nobody without a name, Gatehouse with everything, the customer with what changes nothing but data.
 * Left out are the module's own GRAPH.DEBUG, GRAPH.RESTORE, GRAPH.EFFECT, GRAPH.UDF, GRAPH.PASSWORD and GRAPH.CONFIG SET.
 * Passwords are kept as SHA-256: the server can be asked for no more.
 */
export function accounts(credentials: Credentials, hold: StorageHold): string {
  const rules = [CATEGORIES, HARMLESS, GRAPH_READING];
  if (hold === "none") rules.push(GRAPH_WRITING);
  if (hold === "read_only") rules.push(READ_ONLY, "+graph.delete");
  const state = hold === "closed" ? "off" : "on";
  return [
    "user default off resetpass resetkeys resetchannels -@all",
    `user ${ADMIN} on #${sha256(credentials.adminSecret)} ~* &* +@all`,
    `user ${credentials.username} ${state} #${sha256(credentials.password)} ~* &* -@all ${rules.join(" ")}`,
    "",
  ].join("\n");
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** A word of the configuration file, whatever is in it. */
function quoted(word: string): string {
  return `"${word.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
