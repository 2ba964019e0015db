/** The states of a deployment (contracts: deployments API). */
export const STATES = [
  "creating",
  "running",
  "pausing",
  "paused",
  "resuming",
  "restarting",
  "cloning",
  "snapshotting",
  "restoring",
  "importing",
  "exporting",
  "resizing",
  "terminating",
  "terminated",
  "failed",
] as const;

export type DeploymentState = (typeof STATES)[number];

/** What it should be: what its region's supervisor holds it to while no command is at work. */
export type DesiredState = "running" | "paused" | "terminated";

/** What can be done to a deployment. `create` is what a new one begins with, a clone too; `recover` asks the supervisor. */
export const COMMANDS = [
  "create",
  "pause",
  "resume",
  "restart",
  "clone",
  "snapshot",
  "restore",
  "import",
  "export",
  "connection-url",
  "rotate-password",
  "resize",
  "terminate",
  "recover",
] as const;

export type Command = (typeof COMMANDS)[number];

/** How a command ends. */
export type Ending = "succeeded" | "failed" | "cancelled";

interface Rule {
  /** The states in which it may begin, and the state while it is at work. */
  readonly begins: Readonly<Partial<Record<DeploymentState, DeploymentState>>>;
  /** The state after it; `before`: the one in which it began. */
  readonly ends: Readonly<Record<Ending, DeploymentState | "before">>;
}

/** Not done is not done: as before. */
const BACK = { failed: "before", cancelled: "before" } as const;
/** It serves all the while, or again. */
const UNCHANGED = { succeeded: "before", ...BACK } as const;

/** Where each command may begin and where it leads; one that a state does not list is refused there. States are set in no other way. */
const RULES: Readonly<Record<Command, Rule>> = {
  create: { begins: {}, ends: { succeeded: "running", failed: "failed", cancelled: "terminated" } },
  pause: { begins: { running: "pausing" }, ends: { succeeded: "paused", ...BACK } },
  resume: { begins: { paused: "resuming" }, ends: { succeeded: "running", ...BACK } },
  restart: { begins: { running: "restarting" }, ends: UNCHANGED },
  // A copy can be made of one that rests, too.
  clone: { begins: { running: "cloning", paused: "cloning" }, ends: UNCHANGED },
  snapshot: { begins: { running: "snapshotting", paused: "snapshotting" }, ends: UNCHANGED },
  restore: { begins: { running: "restoring" }, ends: UNCHANGED },
  import: { begins: { running: "importing" }, ends: UNCHANGED },
  export: { begins: { running: "exporting", paused: "exporting" }, ends: UNCHANGED },
  // A paused one gets its new address without being started.
  "connection-url": { begins: { running: "restarting", paused: "paused" }, ends: UNCHANGED },
  "rotate-password": { begins: { running: "running", paused: "paused" }, ends: UNCHANGED },
  resize: { begins: { running: "resizing", paused: "resizing" }, ends: UNCHANGED },
  terminate: {
    begins: { running: "terminating", paused: "terminating", failed: "terminating" },
    ends: { succeeded: "terminated", ...BACK },
  },
  // Brings the server to where it should be: stops what should not run, clears what should be gone.
  recover: {
    begins: { running: "running", paused: "paused", failed: "failed", terminated: "terminated" },
    ends: UNCHANGED,
  },
};

/** The state while a command is at work; null where it may not begin: `refusal` says why. */
export function begin(command: Command, state: DeploymentState): DeploymentState | null {
  return RULES[command].begins[state] ?? null;
}

/**
 * The state after a command.
 * @param before the one in which it began
 * @param removed whether its data may be gone: one that was half terminated does not run again
 */
export function end(
  command: Command,
  ending: Ending,
  before: DeploymentState,
  removed = false,
): DeploymentState {
  const after = RULES[command].ends[ending];
  if (command === "terminate" && ending !== "succeeded" && removed) return "failed";
  return after === "before" ? before : after;
}

/** Why a command may not begin in a state, and what would be right; null where it may. */
export function refusal(command: Command, state: DeploymentState): string | null {
  if (begin(command, state) !== null) return null;
  if (command === "create") return "a database is created once";
  if (state === "terminated")
    return "the database is terminated: create another, or restore a snapshot of it";
  if (state === "failed") return "the database was never created, or is half removed: terminate it";
  if (isPending(state)) return `the database is ${state}: wait for the end of its operation`;
  if (command === "resume") return "the database is running already";
  if (command === "pause") return "the database is paused already";
  return "the database is paused: resume it first";
}

/** What the supervisor holds a deployment to in a state; one at which a command works is that command's. */
export function desiredIn(state: DeploymentState): DesiredState {
  if (state === "paused" || state === "pausing" || state === "failed") return "paused";
  return state === "terminated" || state === "terminating" ? "terminated" : "running";
}

/** Whether a command is at work, as far as the state tells. */
export function isPending(state: DeploymentState): boolean {
  return state.endsWith("ing") && state !== "running";
}
