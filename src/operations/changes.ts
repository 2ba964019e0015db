import type { Signals } from "../platform/signals.js";

/**
 * What a signal says of an operation: it has ended; somebody wants it cancelled; something else that clients can
 * see is new.
 */
export type Change = "ended" | "cancel" | "changed";

/** Tells all processes. Like every signal it may be lost. */
export function announce(signals: Signals, operationId: string, change: Change): Promise<void> {
  return signals.publish("operation.changed", change === "ended" ? operationId : `${operationId} ${change}`);
}

/** Hears of changes; returns the end of the subscription. */
export function onChange(
  signals: Signals,
  listener: (operationId: string, change: Change) => void,
): () => void {
  return signals.subscribe("operation.changed", (payload) => {
    const [id = "", change = "ended"] = payload.split(" ", 2);
    listener(id, change as Change);
  });
}
