/** What clocks on walls show in a time zone. Times are milliseconds since 1970; what is shown is written as if it were UTC. */
export interface WallClock {
  shownAt(instant: number): number;
  /** How far what is shown is ahead of UTC; milliseconds. */
  aheadAt(instant: number): number;
  /** The first instant that shows it. Of what is never shown, the one that would, had the clock not gone forward yet. */
  instantOf(shown: number): number;
}

/** No clock is changed by more at a time, but where a date line moves. */
export const LONGEST_CHANGE_MS = 3 * 3_600_000;
/** Far enough from a change to be before and after it, near enough for no other one. */
export const DAY_MS = 24 * 3_600_000;

/** @throws where this runtime does not know the time zone */
export function wallClockOf(timeZone: string): WallClock {
  const format = new Intl.DateTimeFormat("en-US", {
    ...{ timeZone, calendar: "gregory", numberingSystem: "latn", hourCycle: "h23" },
    ...{
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    },
  });
  const shownAt = (instant: number): number => {
    const parts = new Map(format.formatToParts(instant).map(({ type, value }) => [type, Number(value)]));
    const part = (name: Intl.DateTimeFormatPartTypes): number => parts.get(name) ?? 0;
    return Date.UTC(
      part("year"),
      part("month") - 1,
      part("day"),
      part("hour"),
      part("minute"),
      part("second"),
    );
  };
  const aheadAt = (instant: number): number => shownAt(instant) - Math.floor(instant / 1_000) * 1_000;
  return {
    shownAt,
    aheadAt,
    instantOf: (shown) => {
      const before = shown - aheadAt(shown - DAY_MS);
      const after = shown - aheadAt(shown + DAY_MS);
      const showing = [before, after].filter((instant) => shownAt(instant) === shown);
      return showing.length === 0 ? before : Math.min(...showing);
    },
  };
}
