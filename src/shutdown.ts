/** What a process does. */
export type Role = "all" | "api" | "worker";

/** Exit codes (sysexits.h where there is one). */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 64,
  /** Starting again would not help. */ config: 78,
} as const;

/** A Ctrl-C in a terminal can arrive more than once: from the terminal, and from npm. */
const REPEAT_MS = 1_000;

/** Starts to stop for another reason than a signal; `code` is what the process then exits with. */
export type Stop = (reason: string, code?: number) => void;

/**
 * Calls `stop` at the first SIGINT, SIGTERM or SIGHUP and ends the process when it is done, or after `limitMs`.
 * A further signal, later than a second after the first, ends it at once.
 */
export function stopOnSignals(stop: (reason: string) => Promise<void>, limitMs: number): Stop {
  let since: number | null = null;
  const begin: Stop = (reason, code = EXIT.ok) => {
    if (since !== null) {
      if (Date.now() - since > REPEAT_MS) process.exit(EXIT.failed);
      return;
    }
    since = Date.now();
    setTimeout(() => process.exit(EXIT.failed), limitMs).unref();
    stop(reason).then(
      () => process.exit(code),
      (error: unknown) => {
        console.error("gatehouse: the stop was not clean:", error);
        process.exit(EXIT.failed);
      },
    );
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => begin(signal));
  return begin;
}
