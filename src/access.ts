import { type AccessRecords, createAccessRecords } from "./auth/access-records.js";
import { ApiKeys } from "./auth/api-keys.js";
import { type Denylist, openDenylist } from "./auth/denylist.js";
import { openSigningKeys, type SigningKeys } from "./auth/keys.js";
import { builtInResourceServers, type ResourceServers } from "./auth/resource-servers.js";
import { TokenCounts } from "./auth/token-counts.js";
import { createTokenEndpoint, type TokenEndpoint } from "./auth/token-endpoint.js";
import { TokenVerifier } from "./auth/verifier.js";
import { AuditBuffer } from "./domain/audit/buffer.js";
import { type Clock, systemClock } from "./platform/clock.js";
import { Counters, LocalCounterStore, PostgresCounterStore, RedisCounterStore } from "./platform/counters.js";
import type { Runtime } from "./runtime.js";

/** Everything that decides who gets in, opened once per api process. */
export interface Access {
  readonly clock: Clock;
  readonly keys: SigningKeys;
  readonly records: AccessRecords;
  readonly denylist: Denylist;
  readonly apiKeys: ApiKeys;
  readonly resourceServers: ResourceServers;
  readonly verifier: TokenVerifier;
  readonly tokens: TokenEndpoint;
  readonly tokenCounts: TokenCounts;
  readonly audit: AuditBuffer;
  /** Shared between the processes of the installation. */
  readonly counters: Counters;
  /** Of this process alone. */
  readonly localCounters: Counters;
  /** Resolves when requests can be judged; rejects while the database cannot be asked. */
  ready(): Promise<void>;
  close(): Promise<void>;
}

export type AccessDeps = Pick<Runtime, "config" | "logger" | "prisma" | "db" | "signals" | "masterKey">;

/** Opens the keys and the records that requests are judged by. */
export async function openAccess(deps: AccessDeps, clock: Clock = systemClock): Promise<Access> {
  return assembleAccess(deps, await openSigningKeys({ ...deps, clock }), clock);
}

/** The same over keys that are open. */
export function assembleAccess(deps: AccessDeps, keys: SigningKeys, clock: Clock): Access {
  const { config, logger, prisma, db, signals, masterKey } = deps;
  const { publicUrl } = config;
  const records = createAccessRecords({ sql: db, logger });
  const unsubscribe = signals.subscribe("access.changed", (clientId) => {
    if (clientId !== "") records.forget(clientId);
  });
  const denylist = openDenylist({ sql: db, signals, logger });
  const apiKeys = new ApiKeys(db, masterKey, logger);
  const resourceServers = builtInResourceServers(publicUrl);
  const verifier = new TokenVerifier({ publicUrl, keys, resourceServers, clock });
  const tokens = createTokenEndpoint({ publicUrl, keys, records, resourceServers, masterKey, clock, logger });
  const tokenCounts = new TokenCounts(db, logger);
  const audit = new AuditBuffer(prisma, logger);
  const store =
    config.redisUrl === null ? new PostgresCounterStore(db) : new RedisCounterStore(config.redisUrl, logger);
  const counters = new Counters(store, logger);
  const localCounters = new Counters(new LocalCounterStore(), logger);
  const close = async (): Promise<void> => {
    unsubscribe();
    keys.close();
    records.close();
    denylist.close();
    apiKeys.close();
    await tokenCounts.close();
    await audit.close();
    await counters.close();
    await localCounters.close();
  };
  const ready = async (): Promise<void> => {
    await db.run("SELECT 1");
    await denylist.loaded;
  };
  return {
    clock,
    keys,
    records,
    denylist,
    apiKeys,
    resourceServers,
    verifier,
    tokens,
    tokenCounts,
    audit,
    counters,
    localCounters,
    ready,
    close,
  };
}
