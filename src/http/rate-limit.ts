import type { FastifyReply } from "fastify";
import type { Principal } from "../auth/principal.js";
import type { AuditBuffer } from "../domain/audit/buffer.js";
import type { Clock } from "../platform/clock.js";
import type { Counters } from "../platform/counters.js";
import { AppError } from "../platform/errors.js";
import { networkOf } from "../platform/networks.js";

/** How often something may be done. */
export interface RatePolicy {
  /** Stands in the headers. */
  readonly name: string;
  /** 0: no limit. */
  readonly quota: number;
  readonly windowMs: number;
}

/**
 * Counts one use and says so in the headers (draft-ietf-httpapi-ratelimit-headers-10). Throws `rate_limited`,
 * with the seconds to wait, where the quota is used up.
 * @param key of whom: an address, a client, a principal
 */
export function countUse(
  counters: Counters,
  policy: RatePolicy,
  key: string,
  now: number,
  reply: FastifyReply,
): void {
  if (policy.quota === 0) return;
  const { count, resetsInMs } = counters.hit(`${policy.name}:${key}`, policy.windowMs, now);
  const seconds = Math.max(1, Math.ceil(resetsInMs / 1_000));
  const remaining = Math.max(0, policy.quota - count);
  reply.header("ratelimit-policy", `"${policy.name}";q=${policy.quota};w=${policy.windowMs / 1_000}`);
  reply.header("ratelimit", `"${policy.name}";r=${remaining};t=${seconds}`);
  if (count > policy.quota) throw new OverLimitError(policy, seconds, count);
}

/** Throws `rate_limited` where an address has used its quota of failures up; nothing is counted. */
export function refuseAfterFailures(
  counters: Counters,
  policy: RatePolicy,
  address: string,
  now: number,
): void {
  if (policy.quota === 0) return;
  const { count, resetsInMs } = counters.peek(failureKey(policy, address), policy.windowMs, now);
  if (count >= policy.quota)
    throw new OverLimitError(policy, Math.max(1, Math.ceil(resetsInMs / 1_000)), count);
}

/** Counts a failure of an address towards its quota. */
export function countFailure(counters: Counters, policy: RatePolicy, address: string, now: number): void {
  if (policy.quota > 0) counters.hit(failureKey(policy, address), policy.windowMs, now);
}

function failureKey({ name }: RatePolicy, address: string): string {
  return `${name}:${networkOf(address)}`;
}

class OverLimitError extends AppError {
  /** The first that is refused in its window: one event in the audit log says it. */
  readonly isFirst: boolean;

  constructor({ name, quota, windowMs }: RatePolicy, retryAfter: number, count: number) {
    const message = `too many ${name}: at most ${quota} in ${windowMs / 1_000} s; try again in ${retryAfter} s`;
    super("rate_limited", message, { details: { retryAfter } });
    this.isFirst = count === quota + 1;
  }
}

export interface RequestLimitDeps {
  readonly policy: RatePolicy;
  /** Local to this process: a look into memory on every request, no exchange with others. */
  readonly counters: Counters;
  readonly audit: AuditBuffer;
  readonly clock: Clock;
}

/** The general limit per principal, whatever comes of its requests; what is public has limits of its own or none. */
export class RequestLimit {
  readonly #deps: RequestLimitDeps;

  constructor(deps: RequestLimitDeps) {
    this.#deps = deps;
  }

  /** Throws `rate_limited`; the first time in a window that stands in the audit log. */
  count(caller: Principal, reply: FastifyReply): void {
    const { policy, counters, audit, clock } = this.#deps;
    try {
      countUse(counters, policy, caller.id, clock.now().getTime(), reply);
    } catch (error) {
      if (error instanceof OverLimitError && error.isFirst) {
        audit.note(caller, {
          ...{ action: "request.limited", outcome: "denied" },
          details: { quota: policy.quota, windowSeconds: policy.windowMs / 1_000 },
        });
      }
      throw error;
    }
  }
}
