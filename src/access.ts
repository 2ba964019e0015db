import { type AccessCounts, countAccess } from "./auth/access-counts.js";
import { type AccessRecords, createAccessRecords } from "./auth/access-records.js";
import { ApiKeys } from "./auth/api-keys.js";
import { type Denylist, openDenylist } from "./auth/denylist.js";
import { Proofs } from "./auth/dpop.js";
import { scheduleRotation } from "./auth/key-rotation.js";
import { openSigningKeys, type SigningKeys } from "./auth/keys.js";
import { Rekeying } from "./auth/rekeying.js";
import { openResourceServers, type ResourceServers } from "./auth/resource-servers.js";
import { TokenCounts } from "./auth/token-counts.js";
import { createTokenEndpoint, type TokenEndpoint } from "./auth/token-endpoint.js";
import { UsedProofs } from "./auth/used-proofs.js";
import { createUserRecords, type UserRecords } from "./auth/users.js";
import { secretUses as openSecretUses } from "./auth/uses.js";
import { TokenVerifier } from "./auth/verifier.js";
import { AuditBuffer } from "./domain/audit/buffer.js";
import { type Clock, systemClock } from "./platform/clock.js";
import { Counters, LocalCounterStore, PostgresCounterStore, RedisCounterStore } from "./platform/counters.js";
import type { Runtime } from "./runtime.js";

/** Everything that decides who gets in, opened once per api process. */
export interface Access {
  readonly publicUrl: string;
  readonly clock: Clock;
  readonly keys: SigningKeys;
  readonly records: AccessRecords;
  readonly users: UserRecords;
  readonly denylist: Denylist;
  readonly apiKeys: ApiKeys;
  readonly resourceServers: ResourceServers;
  readonly verifier: TokenVerifier;
  readonly proofs: Proofs;
  readonly tokens: TokenEndpoint;
  readonly tokenCounts: TokenCounts;
  readonly counts: AccessCounts;
  readonly audit: AuditBuffer;
  /** Shared between the processes of the installation. */
  readonly counters: Counters;
  /** Of this process alone. */
  readonly localCounters: Counters;
  /** Resolves when requests can be judged; rejects while the database cannot be asked. */
  ready(): Promise<void>;
  close(): Promise<void>;
}

export type AccessDeps = Pick<
  Runtime,
  "config" | "logger" | "metrics" | "prisma" | "db" | "signals" | "masterKey"
>;

/** Opens the keys and the records that requests are judged by. */
export async function openAccess(deps: AccessDeps, clock: Clock = systemClock): Promise<Access> {
  const keys = await openSigningKeys({ ...deps, clock });
  const access = assembleAccess(deps, keys, clock);
  const stopRotating = scheduleRotation({ ...deps, clock, keys, everyDays: deps.config.rotateKeysDays });
  return {
    ...access,
    close: async () => {
      stopRotating();
      await access.close();
    },
  };
}

/** The same over keys that are open. */
export function assembleAccess(deps: AccessDeps, keys: SigningKeys, clock: Clock): Access {
  const { config, logger, prisma, db, signals, masterKey } = deps;
  const { publicUrl } = config;
  const records = createAccessRecords({ sql: db, logger });
  const users = createUserRecords(db, logger);
  const unsubscribe = signals.subscribe("access.changed", (clientId) => {
    if (clientId !== "") records.forget(clientId);
  });
  const denylist = openDenylist({ sql: db, signals, logger });
  const apiKeys = new ApiKeys(db, masterKey, logger);
  const resourceServers = openResourceServers(publicUrl, db, logger);
  const verifier = new TokenVerifier({ publicUrl, keys, resourceServers, clock });
  const usedProofs = new UsedProofs(db, logger);
  const proofs = new Proofs({ publicUrl, used: usedProofs, clock });
  const secretUses = openSecretUses(db, logger);
  const tokens = createTokenEndpoint({
    ...{
      publicUrl,
      keys,
      records,
      resourceServers,
      masterKey,
      clock,
      logger,
      usedProofs,
      proofs,
      secretUses,
    },
    rekeying: new Rekeying(db, masterKey, logger),
  });
  const tokenCounts = new TokenCounts(db, logger);
  const counts = countAccess(deps.metrics);
  const audit = new AuditBuffer(prisma, logger);
  const store =
    config.redisUrl === null ? new PostgresCounterStore(db) : new RedisCounterStore(config.redisUrl, logger);
  const counters = new Counters(store, logger);
  const localCounters = new Counters(new LocalCounterStore(), logger);
  const close = async (): Promise<void> => {
    unsubscribe();
    keys.close();
    records.close();
    users.close();
    denylist.close();
    resourceServers.close();
    usedProofs.close();
    await apiKeys.close();
    await secretUses.close();
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
    publicUrl,
    clock,
    keys,
    records,
    users,
    denylist,
    apiKeys,
    resourceServers,
    verifier,
    proofs,
    tokens,
    tokenCounts,
    counts,
    audit,
    counters,
    localCounters,
    ready,
    close,
  };
}
