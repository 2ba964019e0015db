/** How long it is tried to deliver an event, and when a webhook is given up. */
export interface DeliveryPolicy {
  /** Tries of one delivery, the first included. */
  readonly maxTries: number;
  /**
   * Milliseconds until the next try.
   * @param tries how many have failed, at least 1
   */
  delayMs(tries: number): number;
  /** A webhook is disabled after so many failed tries without a good one between, ... */
  readonly disableAfterFailures: number;
  /** ... when the first of them lies as many milliseconds back. */
  readonly disableAfterMs: number;
}

const HOUR_MS = 3_600_000;
const FIRST_DELAY_MS = 5_000;
const FACTOR = 3;
const LONGEST_DELAY_MS = 6.5 * HOUR_MS;
/** Each delay is up to as much longer: what failed together is not tried again together. */
const JITTER = 0.2;
const MAX_TRIES = 12;

/** 5 s, 15 s, 45 s ... 3 h, 6.5 h, 6.5 h, 6.5 h: twelve tries in 24 to 29 hours. Three deliveries of these disable a webhook. */
export const DELIVERY_POLICY: DeliveryPolicy = {
  maxTries: MAX_TRIES,
  delayMs: (tries) => backOffMs(tries, Math.random()),
  disableAfterFailures: 3 * MAX_TRIES,
  disableAfterMs: 24 * HOUR_MS,
};

/** @param chance 0 to 1 */
export function backOffMs(tries: number, chance: number): number {
  const delay = Math.min(FIRST_DELAY_MS * FACTOR ** (tries - 1), LONGEST_DELAY_MS);
  return Math.round(delay * (1 + JITTER * chance));
}
