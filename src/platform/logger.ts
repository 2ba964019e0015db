import { type Logger, pino } from "pino";

export type { Logger };

/** Header and field names whose values never reach a log. */
const REDACTED = [
  "req.headers.authorization",
  "req.headers.cookie",
  "*.client_secret",
  "*.clientSecret",
  "*.password",
  "*.secret",
  "*.apiKey",
  "*.access_token",
];

/** How long a line may wait for others, in milliseconds: what a `kill -9` can take with it. */
const LONGEST_WAIT_MS = 100;
const BUFFER_BYTES = 8 * 1024;
const WARN = 40;

/**
 * The process's logger: JSON lines on stdout, secrets taken out by name. Lines of a tenth of a second are written
 * together, since a write per request is a good part of what a request costs; from warnings on they are written at
 * once, and all that is there when the process ends. Where nobody reads them any more, there are none.
 * @param path instead of stdout
 */
export function createLogger(level: string, role: string, path?: string): Logger {
  const lines = pino.destination({
    ...{ dest: path ?? 1, sync: true, minLength: BUFFER_BYTES, periodicFlush: LONGEST_WAIT_MS },
  });
  // Not by `flushSync` alone: where nobody reads any more, that one tries for ever. This one finds out, and then the
  // other does nothing.
  const flush = (): void => lines.flush();
  process.once("exit", () => {
    flush();
    lines.flushSync();
  });
  return pino(
    {
      ...{ level, base: { role, pid: process.pid } },
      redact: { paths: REDACTED, censor: "[redacted]" },
      hooks: {
        logMethod(entry, method, at) {
          method.apply(this, entry);
          if (at >= WARN) flush();
        },
      },
    },
    lines,
  );
}
