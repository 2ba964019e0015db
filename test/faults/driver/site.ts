import type { TestRedis } from "../../support/redis.js";
import type { ApiClient } from "./client.js";
import type { DatabaseServer } from "./database-server.js";
import type { Counts, Findings } from "./findings.js";
import type { Job, Stores } from "./jobs.js";
import type { Journal } from "./journal.js";
import type { Member } from "./member.js";
import type { Random } from "./random.js";
import type { TcpProxy } from "./tcp-proxy.js";
import type { Witness } from "./witness.js";

/** A whole installation of real processes, with everything that faults hit and clients use. */
export interface Site {
  readonly server: DatabaseServer;
  /** Null: the queue is on PostgreSQL. */
  readonly redis: TestRedis | null;
  readonly members: readonly Member[];
  /** Between the workers and the databases that jobs read and write. */
  readonly storeProxy: TcpProxy;
  readonly redisProxy: TcpProxy | null;
  readonly stores: Stores;
  readonly jobs: readonly Job[];
  readonly api: ApiClient;
  readonly witness: Witness;
  readonly journal: Journal;
  readonly findings: Findings;
  /** Answers, by request and status. */
  readonly answers: Counts;
  /** What clients made of the answers. */
  readonly outcomes: Counts;
  readonly faults: Counts;
}

/** One thing that clients do, over and over, while faults happen. */
export interface Actor {
  readonly name: string;
  /** How often, compared with the others. */
  readonly weight: number;
  act(site: Site, random: Random): Promise<void>;
}

/** The control plane's database. */
export const CONTROL = "gatehouse";
