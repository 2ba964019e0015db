import { AppError } from "../../platform/errors.js";
import { networkOf } from "../../platform/networks.js";
import type { PrismaClient } from "../../platform/prisma.js";
import { anonymousAuditRow, type Visit } from "./visit.js";

/** How many tries there are. */
export interface AttemptLimits {
  /** Failures in a row that lock nothing yet. */
  readonly freeFailures: number;
  /** How long the first failure beyond them locks the account; each further one twice as long. */
  readonly firstLockMs: number;
  readonly longestLockMs: number;
  /** Failures of one address, whoever it tries to be. */
  readonly addressFailures: number;
  readonly addressWindowMs: number;
  readonly addressSignUps: number;
  readonly signUpWindowMs: number;
}

export const ATTEMPT_LIMITS: AttemptLimits = {
  freeFailures: 4,
  firstLockMs: 30_000,
  longestLockMs: 15 * 60_000,
  addressFailures: 30,
  addressWindowMs: 5 * 60_000,
  addressSignUps: 60,
  signUpWindowMs: 60 * 60_000,
};

/** Counts per key and window, of all processes together (`Counters` of platform/counters.ts). */
export interface AttemptCounts {
  hit(key: string, windowMs: number, now: number): { readonly count: number; readonly resetsInMs: number };
  peek(key: string, windowMs: number, now: number): { readonly count: number; readonly resetsInMs: number };
}

/** Why a check of a password failed; told to the audit log alone. */
export type FailureReason = "unknown user" | "wrong password" | "locked" | "disabled";

/** A failed check: of whom, where the name that was given is anybody's. */
export interface FailedCheck {
  readonly action: string;
  readonly reason: FailureReason;
  readonly user: { readonly id: string; readonly organizationId: string; readonly username: string } | null;
}

/** In place of the id of a user that is none: the same statement runs, and finds no row. */
const NOBODY = "00000000-0000-0000-0000-000000000000";

/** Tries at passwords: how they are counted, and when there are too many (issue 3, points 6 and 8). */
export class Attempts {
  readonly #prisma: PrismaClient;
  readonly #counts: AttemptCounts;
  readonly #limits: AttemptLimits;

  constructor(prisma: PrismaClient, counts: AttemptCounts, limits: AttemptLimits) {
    this.#prisma = prisma;
    this.#counts = counts;
    this.#limits = limits;
  }

  /** Throws `rate_limited` where an address has failed too often. Says nothing of any account. */
  requireGoodAddress({ address }: Visit, now: Date): void {
    const { addressFailures, addressWindowMs } = this.#limits;
    const { count, resetsInMs } = this.#counts.peek(loginKey(address), addressWindowMs, now.getTime());
    if (count >= addressFailures) throw tooMany("failed logins", resetsInMs);
  }

  /** Counts a sign-up of an address. Throws `rate_limited` where they are too many. */
  countSignUp({ address }: Visit, now: Date): void {
    const { addressSignUps, signUpWindowMs } = this.#limits;
    const key = `signup:${networkOf(address)}`;
    const { count, resetsInMs } = this.#counts.hit(key, signUpWindowMs, now.getTime());
    if (count > addressSignUps) throw tooMany("sign-ups", resetsInMs);
  }

  /**
   * Writes a failure down: against the address, in the audit log, and against the account. Tries at a locked
   * account are not counted against it, or its owner could be kept out for ever at no cost. The same statements
   * run whether or not there is such an account: how long they take tells nothing.
   */
  async recordFailure(visit: Visit, { action, reason, user }: FailedCheck, now: Date): Promise<void> {
    this.#counts.hit(loginKey(visit.address), this.#limits.addressWindowMs, now.getTime());
    const { freeFailures, firstLockMs, longestLockMs } = this.#limits;
    await this.#prisma.$transaction([
      // Long after the last lock ended, counting begins anew.
      this.#prisma.$executeRaw`
        WITH tried AS (
          SELECT id, 1 + CASE WHEN locked_until < ${now}::timestamptz - interval '1 day' THEN 0
                              ELSE failed_logins END AS failures
          FROM users
          WHERE id = ${user?.id ?? NOBODY}::uuid AND (locked_until IS NULL OR locked_until <= ${now}::timestamptz)
          FOR UPDATE
        )
        UPDATE users SET failed_logins = failures,
          locked_until = CASE WHEN failures > ${freeFailures}::int THEN ${now}::timestamptz + interval '1 millisecond'
            * LEAST(${longestLockMs}::float8, ${firstLockMs}::float8 * 2 ^ LEAST(failures - ${freeFailures}::int - 1, 30)) END
        FROM tried WHERE users.id = tried.id`,
      this.#prisma.auditEvent.create({
        data: anonymousAuditRow(visit, user, {
          action,
          ...(user === null ? {} : { target: { type: "user", id: user.id } }),
          details: { reason },
        }),
      }),
    ]);
  }
}

function loginKey(address: string | null): string {
  return `login:${networkOf(address)}`;
}

function tooMany(what: string, resetsInMs: number): AppError {
  const retryAfter = Math.max(1, Math.ceil(resetsInMs / 1_000));
  return new AppError("rate_limited", `too many ${what} from this address: try again in ${retryAfter} s`, {
    details: { retryAfter },
  });
}
