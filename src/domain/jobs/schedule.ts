import { Cron } from "croner";
import { invalid } from "../../platform/errors.js";

/**
 * The cron expression that a `frequency` means: null for manual ("" or "manual"). Throws where it is none.
 * Five fields, or @yearly @monthly @weekly @daily @hourly.
 */
export function parseFrequency(frequency: string): string | null {
  const text = frequency.trim();
  if (text === "" || text === "manual") return null;
  try {
    new Cron(text, { paused: true, mode: "5-part", timezone: "UTC" });
    return text;
  } catch {
    throw invalid(`frequency "${text}" is no cron expression`, [
      {
        path: "/frequency",
        message: 'must be five cron fields such as "0 3 * * *", @daily, @hourly ..., or empty for manual',
      },
    ]);
  }
}
