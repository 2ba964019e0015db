import { Cron } from "croner";
import { invalid } from "../../platform/errors.js";

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
 * by one: the next one counts. On the day that summer time begins a time that is left out comes an hour later; on the
 * day that it ends a time that comes twice counts once, unless the schedule is for every hour.
 */
export function nextTick(cron: string | null, timeZone: string, now: Date): Date | null {
  if (cron === null) return null;
  return new Cron(cron, { paused: true, mode: "5-part", timezone: timeZone }).nextRun(now);
}
