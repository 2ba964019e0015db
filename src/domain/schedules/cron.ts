import { Cron } from "croner";
import { invalid } from "../../platform/errors.js";
import { DAY_MS, LONGEST_CHANGE_MS, type WallClock, wallClockOf } from "./wall-clock.js";

/**
 * The cron expression that a text means: null for none ("" or "manual"). Throws an error about `path` where it is
 * none. Five fields, or @yearly @monthly @weekly @daily @hourly.
 */
export function parseCron(text: string, path: string): string | null {
  const expression = text.trim();
  if (expression === "" || expression === "manual") return null;
  if (!comes(expression)) {
    const name = path.split("/").at(-1);
    throw invalid(`${name} "${expression}" is no cron expression, or one whose time never comes`, [
      {
        path,
        message: 'must be five cron fields such as "0 3 * * *", @daily, @hourly ..., or empty for none',
      },
    ]);
  }
  return expression;
}

/** Whether a text is a pattern, not one of the single dates that the library takes too, and matches any time at all. */
function comes(text: string): boolean {
  if (!/^(@\w+|\S+(\s+\S+){4})$/.test(text)) return false;
  try {
    return new Cron(text, { paused: true, mode: "5-part", timezone: "UTC" }).nextRun() !== null;
  } catch {
    return false;
  }
}

/** Names of the IANA database, not the offsets that some runtimes take too: those know no summer time. */
const ZONE = /^[A-Za-z][A-Za-z0-9_+\-/]{0,63}$/;

/** A time zone by its IANA name. Throws an error about `path` where there is none of that name. */
export function parseTimeZone(text: string, path: string): string {
  try {
    if (ZONE.test(text)) {
      new Intl.DateTimeFormat("en", { timeZone: text });
      return text;
    }
  } catch {
    // Said below.
  }
  throw invalid(`there is no time zone "${text}"`, [
    { path, message: "must be an IANA time zone such as Europe/Berlin" },
  ]);
}

/**
 * When a schedule comes next, after `now`: null for one that never comes. Ticks that were missed are not made up one
 * by one: the next one counts. Where the clock goes forward, a time that it leaves out comes as much later; where it goes
 * back, a time that comes twice counts the first time. Schedules for every hour keep their distance.
 * @throws where this runtime does not know the time zone, or the pattern
 */
export function nextTick(cron: string | null, timeZone: string, now: Date): Date | null {
  if (cron === null) return null;
  if (isOfEveryHour(cron)) return new Cron(cron, { ...OPTIONS, timezone: timeZone }).nextRun(now);
  return nextByWallClock(new Cron(cron, { ...OPTIONS, timezone: "UTC" }), wallClockOf(timeZone), now);
}

const OPTIONS = { paused: true, mode: "5-part" } as const;

function isOfEveryHour(cron: string): boolean {
  return cron === "@hourly" || /^\S+\s+(\*|\*\/1|0-23)\s/.test(cron);
}

/** Most days no clock is changed, and there is nothing to look for: what comes within a day of such a one; else null. */
function nextOfSteadyClock(pattern: Cron, clock: WallClock, now: number): Date | null {
  const ahead = clock.aheadAt(now);
  if (![-2, -1, 1, 2].every((days) => clock.aheadAt(now + days * DAY_MS) === ahead)) return null;
  const shown = pattern.nextRun(new Date(clock.shownAt(now)));
  return shown !== null && shown.getTime() - ahead - now < DAY_MS ? new Date(shown.getTime() - ahead) : null;
}

/**
 * The pattern says what stands on the clock on the wall, so it is asked for that, as if it were UTC; times that are left
 * out come among those that follow, so all of them are looked at.
 */
function nextByWallClock(pattern: Cron, clock: WallClock, now: Date): Date | null {
  const soon = nextOfSteadyClock(pattern, clock, now.getTime());
  if (soon !== null) return soon;
  let first: Date | null = null;
  let shown = pattern.nextRun(new Date(clock.shownAt(now.getTime()) - LONGEST_CHANGE_MS));
  let last = Number.POSITIVE_INFINITY;
  while (shown !== null && shown.getTime() <= last) {
    const at = new Date(clock.instantOf(shown.getTime()));
    if (at > now && (first === null || at < first)) first = at;
    if (first !== null && last === Number.POSITIVE_INFINITY) last = shown.getTime() + LONGEST_CHANGE_MS;
    shown = pattern.nextRun(shown);
  }
  return first;
}
