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

/** The process's logger: JSON lines on stdout, secrets taken out by name. */
export function createLogger(level: string, role: string): Logger {
  return pino({ level, base: { role, pid: process.pid }, redact: { paths: REDACTED, censor: "[redacted]" } });
}
