import { describe, expect, test } from "vitest";
import {
  begin,
  COMMANDS,
  type Command,
  type DeploymentState,
  desiredIn,
  end,
  isPending,
  refusal,
  STATES,
} from "./state.js";

/** The states in which each command may begin, and the one while it is at work. */
const BEGINS: Readonly<Record<Command, Partial<Record<DeploymentState, DeploymentState>>>> = {
  create: {},
  pause: { running: "pausing" },
  resume: { paused: "resuming" },
  restart: { running: "restarting" },
  clone: { running: "cloning", paused: "cloning" },
  snapshot: { running: "snapshotting", paused: "snapshotting" },
  restore: { running: "restoring" },
  import: { running: "importing" },
  export: { running: "exporting", paused: "exporting" },
  "connection-url": { running: "restarting", paused: "paused" },
  "rotate-password": { running: "running", paused: "paused" },
  resize: { running: "resizing", paused: "resizing" },
  terminate: { running: "terminating", paused: "terminating", failed: "terminating" },
  recover: { running: "running", paused: "paused", failed: "failed", terminated: "terminated" },
};

const PAIRS = COMMANDS.flatMap((command) => STATES.map((state) => ({ command, state })));

test.each(PAIRS)("$command of what is $state begins, or is refused with a reason", ({ command, state }) => {
  const during = BEGINS[command][state] ?? null;
  expect(begin(command, state)).toBe(during);
  if (during !== null) expect(refusal(command, state)).toBeNull();
  else expect(refusal(command, state)).toMatch(/^(the database|a database) .{10,}/);
});

describe("a command", () => {
  test.each(COMMANDS.filter((command) => command !== "create"))(
    "%s that fails or is cancelled leaves what was before",
    (command) => {
      for (const before of Object.keys(BEGINS[command]) as DeploymentState[]) {
        expect(end(command, "failed", before)).toBe(before);
        expect(end(command, "cancelled", before)).toBe(before);
      }
    },
  );

  test.each<[Command, DeploymentState, DeploymentState]>([
    ["create", "creating", "running"],
    ["pause", "running", "paused"],
    ["resume", "paused", "running"],
    ["terminate", "running", "terminated"],
    ["terminate", "failed", "terminated"],
    ["resize", "paused", "paused"],
    ["connection-url", "paused", "paused"],
    ["import", "running", "running"],
  ])("%s of what was %s ends, when all is well, as %s", (command, before, after) => {
    expect(end(command, "succeeded", before)).toBe(after);
  });

  test("that creates leaves something to look at when it fails, and nothing when it is cancelled", () => {
    expect(end("create", "failed", "creating")).toBe("failed");
    expect(end("create", "cancelled", "creating")).toBe("terminated");
  });

  test("that was to terminate, and has begun to remove data, does not bring half a database back", () => {
    expect(end("terminate", "failed", "running", true)).toBe("failed");
    expect(end("terminate", "failed", "running", false)).toBe("running");
  });
});

test("every state but the settled ones is of a command at work", () => {
  expect(STATES.filter((state) => !isPending(state))).toEqual(["running", "paused", "terminated", "failed"]);
});

test("nothing is to run of what is paused, failed or ended", () => {
  expect(STATES.filter((state) => desiredIn(state) === "paused")).toEqual(["pausing", "paused", "failed"]);
  expect(STATES.filter((state) => desiredIn(state) === "terminated")).toEqual(["terminating", "terminated"]);
});
