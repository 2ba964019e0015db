import { describe, expect, test } from "vitest";
import { nextRun, parseFrequency } from "./schedule.js";

const at = (text: string): Date => new Date(text);

describe("a schedule", () => {
  test("comes next after now, never now itself", () => {
    expect(nextRun("0 3 * * *", "UTC", at("2026-03-01T03:00:00Z"))).toEqual(at("2026-03-02T03:00:00Z"));
    expect(nextRun("@hourly", "UTC", at("2026-03-01T03:59:59Z"))).toEqual(at("2026-03-01T04:00:00Z"));
  });

  test("is read in its time zone, summer time included", () => {
    expect(nextRun("30 2 * * *", "Europe/Berlin", at("2026-07-01T00:00:00Z"))).toEqual(
      at("2026-07-01T00:30:00Z"),
    );
    expect(nextRun("30 2 * * *", "Europe/Berlin", at("2026-01-01T00:00:00Z"))).toEqual(
      at("2026-01-01T01:30:00Z"),
    );
  });

  test("that is absent never comes", () => {
    expect(nextRun(null, "UTC", at("2026-03-01T03:00:00Z"))).toBeNull();
  });

  test.each(["", "manual", "  "])("%j means by hand", (frequency) => {
    expect(parseFrequency(frequency)).toBeNull();
  });
});
