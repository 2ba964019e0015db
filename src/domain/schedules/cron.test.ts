import { Cron } from "croner";
import { describe, expect, test } from "vitest";
import { nextTick, parseCron, parseTimeZone } from "./cron.js";

const at = (text: string): Date => new Date(text);

/** The ticks after a moment. */
function ticks(cron: string, timeZone: string, after: string, count: number): string[] {
  const found: string[] = [];
  let now = at(after);
  for (let i = 0; i < count; i++) {
    now = nextTick(cron, timeZone, now) ?? now;
    found.push(now.toISOString().slice(0, 16));
  }
  return found;
}

describe("a schedule", () => {
  test("comes next after now, never now itself", () => {
    expect(nextTick("0 3 * * *", "UTC", at("2026-03-01T03:00:00Z"))).toEqual(at("2026-03-02T03:00:00Z"));
    expect(nextTick("0 3 * * *", "Europe/Berlin", at("2026-06-01T00:59:59.900Z"))).toEqual(
      at("2026-06-01T01:00:00Z"),
    );
    expect(nextTick("0 3 * * *", "Europe/Berlin", at("2026-06-01T01:00:00.100Z"))).toEqual(
      at("2026-06-02T01:00:00Z"),
    );
    expect(nextTick("@hourly", "UTC", at("2026-03-01T03:59:59Z"))).toEqual(at("2026-03-01T04:00:00Z"));
  });

  test("is read in its time zone", () => {
    expect(ticks("30 2 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", 1)).toEqual(["2026-07-01T00:30"]);
    expect(ticks("30 2 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", 1)).toEqual(["2026-01-01T01:30"]);
  });

  test("for a time that summer time leaves out comes an hour later that day, once", () => {
    // 29 March 2026, 02:00 to 03:00 is not in Berlin.
    expect(ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2)).toEqual([
      "2026-03-29T01:30",
      "2026-03-30T00:30",
    ]);
    // 8 March 2026, midnight to 01:00 is not in Havana.
    expect(ticks("0 0 * * *", "America/Havana", "2026-03-07T12:00:00Z", 2)).toEqual([
      "2026-03-08T05:00",
      "2026-03-09T04:00",
    ]);
  });

  test("for a time that comes twice when summer time ends comes once", () => {
    expect(ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2)).toEqual([
      "2026-10-25T00:30",
      "2026-10-26T01:30",
    ]);
    expect(ticks("15 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2)).toEqual([
      "2026-11-01T05:15",
      "2026-11-02T06:15",
    ]);
  });

  test.each([
    // Left out, each is an hour later, and none is lost.
    ["0,30 2 * * *", "2026-03-28T12:00:00Z", ["03-29T01:00", "03-29T01:30", "03-30T00:00", "03-30T00:30"]],
    ["0 */2 * * *", "2026-03-28T22:30:00Z", ["03-28T23:00", "03-29T01:00", "03-29T02:00", "03-29T04:00"]],
    // Late from 02:00, and 03:00 itself, at once.
    ["0 2,3 * * *", "2026-03-28T12:00:00Z", ["03-29T01:00", "03-30T00:00", "03-30T01:00"]],
    ["*/20 2 * * *", "2026-03-29T00:59:00Z", ["03-29T01:00", "03-29T01:20", "03-29T01:40", "03-30T00:00"]],
    // Shown twice, each comes the first time alone.
    ["0 */2 * * *", "2026-10-24T21:00:00Z", ["10-24T22:00", "10-25T00:00", "10-25T03:00", "10-25T05:00"]],
    ["0,30 2 * * *", "2026-10-24T12:00:00Z", ["10-25T00:00", "10-25T00:30", "10-26T01:00"]],
    ["0 2-4 * * *", "2026-10-24T12:00:00Z", ["10-25T00:00", "10-25T02:00", "10-25T03:00", "10-26T01:00"]],
    // After the first, while it is shown again.
    ["30 2 * * *", "2026-10-25T01:10:00Z", ["10-26T01:30"]],
  ])("%j is as the clock on the wall says, after %s", (cron, after, expected) => {
    expect(ticks(cron, "Europe/Berlin", after, expected.length)).toEqual(
      expected.map((each) => `2026-${each}`),
    );
  });

  test("by the clock on the wall comes at the same times as by a library where no clock is changed", () => {
    for (const cron of ["*/7 3-5 * * *", "0 0 1 * *", "15 6 * * MON-FRI", "0 12 L * *", "30 22 29 2 *"]) {
      let [ours, theirs]: [Date | null, Date | null] = [
        at("2026-01-15T00:00:00Z"),
        at("2026-01-15T00:00:00Z"),
      ];
      for (let i = 0; i < 40; i++) {
        ours = nextTick(cron, "Asia/Kolkata", ours ?? new Date(0));
        theirs = new Cron(cron, { paused: true, mode: "5-part", timezone: "Asia/Kolkata" }).nextRun(theirs);
        expect(ours).toEqual(theirs);
      }
    }
  });

  test("in a zone that nobody knows cannot be computed", () => {
    for (const cron of ["@hourly", "@daily", "0 3 * * *"])
      expect(() => nextTick(cron, "Nowhere/Nothing", at("2026-03-01T03:00:00Z"))).toThrow();
  });

  test("for every half hour keeps its distance through both changes", () => {
    expect(ticks("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:59:00Z", 5)).toEqual([
      "2026-10-25T00:00",
      "2026-10-25T00:30",
      "2026-10-25T01:00",
      "2026-10-25T01:30",
      "2026-10-25T02:00",
    ]);
    expect(ticks("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:29:00Z", 3)).toEqual([
      "2026-03-29T00:30",
      "2026-03-29T01:00",
      "2026-03-29T01:30",
    ]);
  });

  test("that is absent never comes", () => {
    expect(nextTick(null, "UTC", at("2026-03-01T03:00:00Z"))).toBeNull();
  });

  test.each(["", "manual", "  "])("%j means by hand", (text) => {
    expect(parseCron(text, "/frequency")).toBeNull();
  });

  test.each(["every day", "* * * *", "61 * * * *", "0 0 31 2 *", "2030-01-01T00:00:00Z", "* * * * * *"])(
    "%j is none",
    (text) => {
      expect(() => parseCron(text, "/schedule")).toThrow(/schedule ".*" is no cron expression/);
    },
  );
});

describe("a time zone", () => {
  test.each(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])("%j is one", (name) => {
    expect(parseTimeZone(name, "/timeZone")).toBe(name);
  });

  test.each(["", "Mars/Phobos", "+02:00", "Europe/Berlin; DROP", "a".repeat(100)])("%j is none", (name) => {
    expect(() => parseTimeZone(name, "/timeZone")).toThrow(/there is no time zone/);
  });
});
