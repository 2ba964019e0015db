import { Cron } from "croner";
import { invalid } from "../../platform/errors.js";

/**
 * The cron expression that a `frequency` means: null for manual ("" or "manual"). Throws where it is none.
 * Five fields, or @yearly @monthly @weekly @daily @hourly.
 */
export function parseFrequency(frequency: string): string | null {
  const text = frequency.trim();
  if (text === "" || text === "manual") return null;
  if (!comes(text)) {
    throw invalid(`frequency "${text}" is no cron expression, or one whose time never comes`, [
      {
        path: "/frequency",
        message: 'must be five cron fields such as "0 3 * * *", @daily, @hourly ..., or empty for manual',
      },
    ]);
  }
  return text;
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

/**
 * When a schedule comes next, after `now`: null for one that is off or never comes. Ticks that were missed are
 * not made up one by one: the next one counts.
 */
export function nextRun(schedule: string | null, timeZone: string, now: Date): Date | null {
  if (schedule === null) return null;
  return new Cron(schedule, { paused: true, mode: "5-part", timezone: timeZone }).nextRun(now);
}
