import type { Access } from "./access.js";
import { ATTEMPT_LIMITS, type AttemptLimits, Attempts } from "./domain/people/attempts.js";
import { People } from "./domain/people/people.js";
import { type SessionRecords, uncachedSessionRecords } from "./domain/people/session-records.js";
import { Sessions } from "./domain/people/sessions.js";
import { SignUps } from "./domain/people/sign-up.js";
import { originPolicy } from "./http/csrf.js";
import type { Services } from "./http/services.js";
import type { Runtime } from "./runtime.js";

export type PeopleRuntime = Pick<Runtime, "config" | "logger" | "prisma" | "db" | "masterKey">;

/** People, their sessions, and what their browsers are told. */
export function buildPeople(
  { config, logger, prisma, db, masterKey }: PeopleRuntime,
  { clock, counters }: Pick<Access, "clock" | "counters">,
  records: SessionRecords = uncachedSessionRecords(db),
  limits: AttemptLimits = ATTEMPT_LIMITS,
): Pick<Services, "people" | "sessions" | "browser"> {
  const lifetime = { absoluteMs: config.sessionLifetimeMs, idleMs: config.sessionIdleMs };
  const sessions = new Sessions({ prisma, records, masterKey, clock, logger, lifetime });
  const attempts = new Attempts(prisma, counters, limits);
  const { allowSignUp } = config;
  const signUps = new SignUps({ prisma, masterKey, clock, attempts, allowSignUp });
  return {
    people: new People({ prisma, clock, logger, attempts, sessions, signUps }),
    sessions,
    browser: {
      cookie: { sameSite: config.sessionSameSite, secure: config.publicUrl.startsWith("https:") },
      origins: originPolicy(config.publicUrl, config.corsOrigins),
    },
  };
}
