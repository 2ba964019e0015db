import type { Principal } from "../../auth/principal.js";
import { scopesOfRole } from "../../auth/roles.js";
import type { Clock } from "../../platform/clock.js";
import { AppError, conflict, invalid } from "../../platform/errors.js";
import type { Logger } from "../../platform/logger.js";
import type { PrismaClient } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import type { Attempts, FailureReason } from "./attempts.js";
import { Turns } from "./gate.js";
import { userReference } from "./names.js";
import { hashPassword, isOutdatedHash, requireGoodPassword, verifyPassword } from "./passwords.js";
import type { OpenedSession, Sessions } from "./sessions.js";
import type { SignUpInput, SignUps } from "./sign-up.js";
import type { Visit } from "./visit.js";

export interface PeopleDeps {
  readonly prisma: PrismaClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly attempts: Attempts;
  readonly sessions: Sessions;
  readonly signUps: SignUps;
}

export interface PasswordChange {
  readonly current: string;
  readonly next: string;
}

/** Somebody who logged in. */
export interface LoggedIn {
  readonly username: string;
  readonly session: OpenedSession;
}

/** More tries at one name than that do not wait for their turn. */
const WAITING_PER_NAME = 16;

const FIELDS = {
  id: true,
  organizationId: true,
  username: true,
  email: true,
  passwordHash: true,
  role: true,
  allProjects: true,
  generation: true,
  lockedUntil: true,
  disabledAt: true,
  organization: { select: { disabledAt: true } },
  projects: { select: { projectId: true } },
} as const;

/** People and their passwords: sign-up, login, and what they change themselves. */
export class People {
  readonly #deps: PeopleDeps;
  /**
   * Tries at one name come one after another, so that a lock holds against many at once. By the name that was
   * typed: whether anybody has it makes no difference.
   */
  readonly #turns = new Turns(WAITING_PER_NAME);

  constructor(deps: PeopleDeps) {
    this.#deps = deps;
  }

  signUp(input: SignUpInput, visit: Visit) {
    return this.#deps.signUps.signUp(input, visit);
  }

  /**
   * Opens a session. A wrong name, a wrong password, a locked and a disabled account are one failure, told in the
   * same words after the same work.
   * @param login a user name or an e-mail address
   */
  async login(login: string, password: string, visit: Visit): Promise<LoggedIn> {
    const { clock, attempts, sessions, logger } = this.#deps;
    attempts.requireGoodAddress(visit, clock.now());
    const reference = userReference(login);
    const loggedIn = await this.#turns.run(JSON.stringify(reference), async () => {
      const user = await this.#deps.prisma.user.findUnique({ where: reference, select: FIELDS });
      const good = await this.#check(user, password, "login", visit);
      if (good === null) throw wrongCredentials();
      return this.#openSession(good, password, visit);
    });
    await sessions.prune().catch((error: unknown) => {
      logger.warn({ err: error }, "sessions that are over could not be deleted");
    });
    return loggedIn;
  }

  /** Ends the session that a request came with; a caller without one has nothing to end. */
  async logout(principal: Principal, visit: Visit): Promise<void> {
    const { prisma, sessions } = this.#deps;
    if (visit.sessionSecret === null) return;
    if (!(await sessions.end(visit.sessionSecret))) return;
    await prisma.$transaction((tx) => audit(tx, principal, { action: "logout", target: target(principal) }));
  }

  /**
   * Changes one's own password. Every session and token of the user ends; a caller with a session gets a new one.
   * @returns the new session; null for callers without one
   */
  async changePassword(
    principal: Principal,
    { current, next }: PasswordChange,
    visit: Visit,
  ): Promise<OpenedSession | null> {
    const { prisma, clock, attempts, sessions } = this.#deps;
    if (principal.kind !== "user")
      throw new AppError("forbidden", "only people have passwords: an API client has secrets");
    attempts.requireGoodAddress(visit, clock.now());
    // In turn with the tries at logging in: this is one more way to try passwords.
    return this.#turns.run(JSON.stringify({ username: principal.name }), async () => {
      const user = await prisma.user.findUnique({ where: { id: principal.id }, select: FIELDS });
      const good = await this.#check(user, current, "user.password", visit);
      if (good === null) throw wrongCurrentPassword();
      requireGoodPassword(next, good, "/new_password");
      if (next === current) throw samePassword();
      const passwordHash = await hashPassword(next);
      const { session, forget } = await prisma.$transaction(async (tx) => {
        // With the hash that was checked: of two changes at once, the second checked a password that is none any more.
        const changed = await tx.$executeRaw`
          UPDATE users SET password_hash = ${passwordHash}, generation = generation + 1, failed_logins = 0,
            locked_until = NULL, updated_at = ${clock.now()}::timestamptz
          WHERE id = ${good.id}::uuid AND password_hash = ${good.passwordHash} AND disabled_at IS NULL`;
        if (changed === 0) throw conflict("the user was changed at the same time: try again");
        const forget = await sessions.endAll(tx, good.id);
        const { generation } = await tx.user.findUniqueOrThrow({ where: { id: good.id } });
        const session =
          visit.sessionSecret === null
            ? null
            : await sessions.open(tx, { id: good.id, generation }, { ...visit, sessionSecret: null });
        await audit(tx, principal, { action: "user.password", target: target(principal) });
        return { session, forget };
      });
      forget();
      return session;
    });
  }

  /**
   * The user, where the password is right and it may log in; else null, and the failure is written down. Costs the
   * same in every case of failure.
   */
  async #check(
    user: StoredUser | null,
    password: string,
    action: string,
    visit: Visit,
  ): Promise<StoredUser | null> {
    const { clock, attempts } = this.#deps;
    const matches = await verifyPassword(user?.passwordHash ?? null, password);
    const now = clock.now();
    const reason = faultOf(user, matches, now);
    if (reason === null) return user;
    await attempts.recordFailure(visit, { action, reason, user }, now);
    return null;
  }

  async #openSession(user: StoredUser, password: string, visit: Visit): Promise<LoggedIn> {
    const { prisma, clock, sessions } = this.#deps;
    // Made with today's parameters while the password is at hand.
    const passwordHash = isOutdatedHash(user.passwordHash) ? await hashPassword(password) : user.passwordHash;
    const session = await prisma.$transaction(async (tx) => {
      const now = clock.now();
      // What was checked still holds: no other password, nothing narrowed, not disabled since.
      const unchanged = await tx.$executeRaw`
        UPDATE users SET failed_logins = 0, locked_until = NULL, last_login_at = ${now}::timestamptz,
          password_hash = ${passwordHash}
        WHERE id = ${user.id}::uuid AND password_hash = ${user.passwordHash} AND generation = ${user.generation}::int
          AND disabled_at IS NULL`;
      if (unchanged === 0) throw wrongCredentials();
      const opened = await sessions.open(tx, user, visit);
      const principal = toPrincipal(user, visit);
      await audit(tx, principal, {
        action: "login",
        target: target(principal),
        details: { sessionId: opened.id },
      });
      return opened;
    });
    return { username: user.username, session };
  }
}

/** A user as far as checks of passwords look at it. */
interface StoredUser {
  readonly id: string;
  readonly organizationId: string;
  readonly username: string;
  readonly email: string;
  readonly passwordHash: string;
  readonly role: string;
  readonly allProjects: boolean;
  readonly generation: number;
  readonly lockedUntil: Date | null;
  readonly disabledAt: Date | null;
  readonly organization: { readonly disabledAt: Date | null };
  readonly projects: readonly { readonly projectId: string }[];
}

function faultOf(user: StoredUser | null, matches: boolean, now: Date): FailureReason | null {
  if (user === null) return "unknown user";
  // Before the password: while it is locked nobody finds out whether a password is right.
  if (user.lockedUntil !== null && user.lockedUntil > now) return "locked";
  if (!matches) return "wrong password";
  return user.disabledAt === null && user.organization.disabledAt === null ? null : "disabled";
}

function toPrincipal(user: StoredUser, { address, requestId }: Visit): Principal {
  return {
    kind: "user",
    id: user.id,
    name: user.username,
    organizationId: user.organizationId,
    projects: user.allProjects ? "all" : new Set(user.projects.map(({ projectId }) => projectId)),
    scopes: scopesOfRole(user.role),
    origin: { address, requestId },
  };
}

function target({ kind, id }: Principal) {
  return { type: kind, id };
}

/** One sentence for every reason: it tells nobody which names exist, nor which accounts are locked. */
function wrongCredentials(): AppError {
  return new AppError(
    "unauthenticated",
    "the user name or the password is wrong, or the account takes no logins for a while after failed ones",
  );
}

function wrongCurrentPassword(): AppError {
  const message = "is wrong, or the account takes no tries for a while after failed ones";
  return invalid(`current_password ${message}`, [{ path: "/current_password", message }]);
}

function samePassword(): AppError {
  const message = "must be another one";
  return invalid(`new_password ${message}`, [{ path: "/new_password", message }]);
}
