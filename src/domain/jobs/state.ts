/** The states of a job (contracts/core-api.md). */
export type JobState =
  | "PENDING"
  | "RUNNING"
  | "PAUSING"
  | "PAUSED"
  | "RESUMING"
  | "RESTARTING"
  | "STOPPING"
  | "STOPPED"
  | "FINISHED"
  | "FAILED";

export type JobEvent = "run-accepted" | "run-succeeded" | "run-failed" | "run-cancelled";

/** Where each event leads; an event that a state does not list is refused there. States are set in no other way. */
const TRANSITIONS: Readonly<Record<JobState, Readonly<Partial<Record<JobEvent, JobState>>>>> = {
  PENDING: { "run-accepted": "RUNNING" },
  RUNNING: { "run-succeeded": "FINISHED", "run-failed": "FAILED", "run-cancelled": "STOPPED" },
  PAUSING: {},
  PAUSED: {},
  RESUMING: {},
  RESTARTING: {},
  STOPPING: { "run-cancelled": "STOPPED", "run-succeeded": "FINISHED", "run-failed": "FAILED" },
  STOPPED: { "run-accepted": "RUNNING" },
  FINISHED: { "run-accepted": "RUNNING" },
  FAILED: { "run-accepted": "RUNNING" },
};

/** The state after an event, or null where the event cannot happen in that state. */
export function next(state: JobState, event: JobEvent): JobState | null {
  return TRANSITIONS[state][event] ?? null;
}

/** The states in which a run can be started. */
export const STARTABLE = (Object.keys(TRANSITIONS) as JobState[]).filter(
  (state) => next(state, "run-accepted") !== null,
);

export type RunState = "PENDING" | "RUNNING" | "FINISHED" | "FAILED" | "CANCELLED";
export type StepState = "PENDING" | "RUNNING" | "SUCCEEDED" | "FAILED" | "SKIPPED" | "CANCELLED";
