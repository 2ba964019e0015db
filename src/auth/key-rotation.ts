import type { Clock } from "../platform/clock.js";
import type { MasterKey } from "../platform/crypto.js";
import type { Logger } from "../platform/logger.js";
import type { PrismaClient, PrismaTransaction } from "../platform/prisma.js";
import { addSigningKey, JWKS_MAX_AGE_S, lockKeys, RELOAD_EVERY_MS, type SigningKeys } from "./keys.js";
import { keysOf } from "./master-keys.js";
import { auditSystem } from "./system-audit.js";

/** How long each state of a key lasts. */
export interface RotationTimes {
  /**
   * From its publication until it signs: longer than any process of ours goes without reading the keys again, and
   * longer than others may keep `/oauth/jwks`.
   */
  readonly publishMs: number;
  /** From the end of its signing until it is published no more, at least: the longest life of a token. */
  readonly longestTokenMs: number;
  /** On top of that: clocks differ. */
  readonly graceMs: number;
}

/** Seconds: no client and no resource server may set more for its tokens (domain/access/limits.ts). */
export const LONGEST_TOKEN_S = 2_592_000;

export const ROTATION_TIMES: RotationTimes = {
  publishMs: JWKS_MAX_AGE_S * 1_000 + 2 * RELOAD_EVERY_MS,
  longestTokenMs: LONGEST_TOKEN_S * 1_000,
  graceMs: 5 * 60_000,
};

export interface RotationDeps {
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
}

/** What a rotation has come to. */
export interface Rotation {
  /** The next key. */
  readonly kid: string;
  /** From when on it signs, in every process, by itself. */
  readonly activatesAt: Date;
  /** False: the rotation was under way already, and nothing was changed. */
  readonly started: boolean;
}

/**
 * Plans a rotation, all at once: the next key is published now, signs from `activatesAt` on, and the former ones
 * are published until the last token that they signed has expired. Everything that follows from it is a comparison
 * with the clock in each process, so nothing has to be running meanwhile, and nothing can break off in between.
 * @param by who wants it, for the audit log
 */
export async function rotateKeys(
  { prisma, masterKey, clock }: RotationDeps,
  by: string,
  times: RotationTimes = ROTATION_TIMES,
): Promise<Rotation> {
  return prisma.$transaction(
    async (tx) => {
      await lockKeys(tx);
      return rotate(tx, { masterKey, now: clock.now(), by, times });
    },
    { maxWait: 30_000, timeout: 30_000 },
  );
}

interface Plan {
  readonly masterKey: MasterKey;
  readonly now: Date;
  readonly by: string;
  readonly times: RotationTimes;
}

async function rotate(tx: PrismaTransaction, { masterKey, now, by, times }: Plan): Promise<Rotation> {
  const keys = await tx.signingKey.findMany({ select: { kid: true, keyId: true, activatedAt: true } });
  for (const { kid, activatedAt } of keys) {
    if (activatedAt !== null && activatedAt > now) return { kid, activatesAt: activatedAt, started: false };
  }
  requireKnownKeys(masterKey, keys);
  const activatesAt = new Date(now.getTime() + times.publishMs);
  const kid = await addSigningKey(tx, masterKey, activatesAt);
  const longestMs = Math.max(times.longestTokenMs, await longestLifetimeMs(tx));
  const retiredAt = new Date(activatesAt.getTime() + longestMs + times.graceMs);
  await tx.signingKey.updateMany({ where: { kid: { not: kid }, retiredAt: null }, data: { retiredAt } });
  // What verifies nothing any more is no use to anybody but a thief.
  await tx.signingKey.deleteMany({ where: { retiredAt: { lt: new Date(now.getTime() - times.graceMs) } } });
  const target = { type: "signingKey", id: kid };
  const details = { activatesAt, retiresOthersAt: retiredAt };
  await auditSystem(tx, by, { action: "keys.rotate", target, details });
  return { kid, activatesAt, started: true };
}

/** A key under a master key that the processes do not have would stop them from signing when its time comes. */
function requireKnownKeys(masterKey: MasterKey, keys: readonly { kid: string; keyId: string }[]): void {
  const known = new Set(keysOf(masterKey).map(({ id }) => id));
  const strange = keys.find(({ keyId }) => !known.has(keyId));
  if (strange === undefined) return;
  throw new Error(
    `signing key ${strange.kid} was encrypted under master key ${strange.keyId}, not under ${masterKey.id}: ` +
      "rotate with the GATEHOUSE_MASTER_KEY that Gatehouse runs with",
  );
}

/** What is set in the database counts even where it is more than the API allows. */
async function longestLifetimeMs(tx: PrismaTransaction): Promise<number> {
  const { _max: ofClients } = await tx.apiClient.aggregate({ _max: { tokenLifetime: true } });
  const { _max: ofServers } = await tx.resourceServer.aggregate({ _max: { tokenLifetime: true } });
  return 1_000 * Math.max(ofClients.tokenLifetime ?? 0, ofServers.tokenLifetime ?? 0);
}

export interface RotationScheduleDeps extends RotationDeps {
  readonly keys: SigningKeys;
  readonly logger: Logger;
  /** 0: never by itself. */
  readonly everyDays: number;
}

const LOOK_EVERY_MS = 5 * 60_000;
const DAY_MS = 86_400_000;

/**
 * Rotates the keys when the newest is old enough, from whichever process finds that first.
 * @returns the end of it
 */
export function scheduleRotation(deps: RotationScheduleDeps): () => void {
  if (deps.everyDays === 0) return () => {};
  const timer = setInterval(() => {
    rotateWhenDue(deps).catch((error: unknown) => {
      deps.logger.warn({ err: error }, "the signing keys could not be rotated");
    });
  }, LOOK_EVERY_MS).unref();
  return () => clearInterval(timer);
}

/** Plans a rotation where the newest key is as old as that; null where it is not. */
export async function rotateWhenDue(
  { everyDays, keys, logger, ...deps }: RotationScheduleDeps,
  times: RotationTimes = ROTATION_TIMES,
): Promise<Rotation | null> {
  const due = new Date(deps.clock.now().getTime() - everyDays * DAY_MS);
  const young = { OR: [{ createdAt: { gt: due } }, { activatedAt: { gt: due } }] };
  if ((await deps.prisma.signingKey.count({ where: young })) > 0) return null;
  const rotation = await rotateKeys(deps, "schedule", times);
  if (rotation.started) logger.info(rotation, "a new signing key is published: it signs when all know it");
  await keys.reload();
  return rotation;
}
