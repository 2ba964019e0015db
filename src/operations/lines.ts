/** In a line: nobody works at it, nobody is expected to. */
export const WAITING = "status IN ('pending', 'running') AND leased_by IS NULL";
/** Not in a line, and few, however many wait: claimed, or to be ended. */
export const ATTENDED = "(status = 'cancelling' OR status = 'running' AND leased_by IS NOT NULL)";

/** Who waits stands in lines, one per organization and region, each in the order of priorities and ids. */
export const LINE = "organization_id, coalesce(region, '')";

/**
 * Where an operation that waits stands among those of all organizations: so many of its own are at work, and so many wait
 * before it and with it; a lower priority counts like so many places. What somebody waits for in a request ranks below
 * 1,000, so it comes first.
 */
export const rankOf = (busy: string, place: string, priority: string): string =>
  `(1000 + ${busy} + ${place} + ${priority})::int`;

/** The queue's priority of a rank: there 0 means none. */
export const queuePriorityOf = (rank: string): string => `(${rank} + 1)::int`;
