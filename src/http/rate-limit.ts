import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import type { Clock } from "../platform/clock.js";
import type { Counters } from "../platform/counters.js";
import { AppError } from "../platform/errors.js";

/** How often something may be done. */
export interface RatePolicy {
  /** Stands in the headers. */
  readonly name: string;
  /** 0: no limit. */
  readonly quota: number;
  readonly windowMs: number;
}

/** Counts of whom: an address, a client, a principal. */
export interface RateLimitOptions {
  /** Local to this process: a look into memory on every request, no exchange with others. */
  readonly requests: RatePolicy;
  readonly local: Counters;
  readonly clock: Clock;
}

/**
 * Counts one use and says so in the headers (draft-ietf-httpapi-ratelimit-headers-10). Throws `rate_limited`,
 * with the seconds to wait, where the quota is used up.
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
  if (count > policy.quota) throw tooMany(policy, seconds);
}

/** Throws `rate_limited` where a quota of failures is used up; nothing is counted. */
export function refuseAfterFailures(counters: Counters, policy: RatePolicy, key: string, now: number): void {
  if (policy.quota === 0) return;
  const { count, resetsInMs } = counters.peek(`${policy.name}:${key}`, policy.windowMs, now);
  if (count >= policy.quota) throw tooMany(policy, Math.max(1, Math.ceil(resetsInMs / 1_000)));
}

/** Counts a failure towards its quota. */
export function countFailure(counters: Counters, policy: RatePolicy, key: string, now: number): void {
  if (policy.quota > 0) counters.hit(`${policy.name}:${key}`, policy.windowMs, now);
}

function tooMany({ name, quota, windowMs }: RatePolicy, retryAfter: number): AppError {
  const message = `too many ${name}: at most ${quota} in ${windowMs / 1_000} s; try again in ${retryAfter} s`;
  return new AppError("rate_limited", message, { details: { retryAfter } });
}

/** The general limit per principal; what is public has limits of its own or none. */
export const rateLimitPlugin = fp<RateLimitOptions>(
  async (app: FastifyInstance, { requests, local, clock }: RateLimitOptions) => {
    app.addHook("onRequest", (request: FastifyRequest, reply: FastifyReply, done) => {
      const caller = request.authenticated;
      if (caller === null) return done();
      try {
        countUse(local, requests, caller.id, clock.now().getTime(), reply);
        done();
      } catch (error) {
        done(error as Error);
      }
    });
  },
  { name: "rate-limit", dependencies: ["guard"] },
);
