import type { Identity, Origin, Principal } from "../../auth/principal.js";
import { scopesOfRole } from "../../auth/roles.js";
import type { Clock } from "../../platform/clock.js";
import { AppError, conflict, invalid } from "../../platform/errors.js";
import type { Logger } from "../../platform/logger.js";
import type { PrismaClient, PrismaTransaction } from "../../platform/prisma.js";
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

/** Somebody whose password was right, at a generation of its access. */
export interface AuthenticatedUser {
  readonly identity: Identity;
  readonly generation: number;
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
    const { sessions, logger } = this.#deps;
    const loggedIn = await this.#admit(login, password, visit, "login", async (tx, user) => {
      const session = await sessions.open(tx, user, visit);
      return { username: user.username, session };
    });
    await sessions.prune().catch((error: unknown) => {
      logger.warn({ err: error }, "sessions that are over could not be deleted");
    });
    return loggedIn;
  }

  /** The same without a session, for whoever takes a name and a password in another way: the password grant. */
  async authenticate(login: string, password: string, visit: Visit): Promise<AuthenticatedUser> {
    return this.#admit(login, password, visit, "authenticate", async (_tx, user) => ({
      identity: toIdentity(user),
      generation: user.generation,
    }));
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
    const { prisma, clock, attempts } = this.#deps;
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
      const { forget, session } = await prisma.$transaction(async (tx) => {
        const user = { id: good.id, generation: await this.#replacePassword(tx, good, passwordHash) };
        const forget = await this.#deps.sessions.endAll(tx, good.id);
        await audit(tx, principal, { action: "user.password", target: target(principal) });
        if (visit.sessionSecret === null) return { forget, session: null };
        return { forget, session: await this.#deps.sessions.open(tx, user, visit) };
      });
      forget();
      return session;
    });
  }

  /** @returns the generation of what is issued from now on */
  async #replacePassword(tx: PrismaTransaction, user: StoredUser, hash: string): Promise<number> {
    // With the hash that was checked: of two changes at once, the second checked a password that is none any more.
    const rows = await tx.$queryRaw<{ generation: number }[]>`
      UPDATE users SET password_hash = ${hash}, generation = generation + 1, failed_logins = 0, locked_until = NULL,
        updated_at = ${this.#deps.clock.now()}::timestamptz
      WHERE id = ${user.id}::uuid AND password_hash = ${user.passwordHash} AND disabled_at IS NULL
      RETURNING generation`;
    const generation = rows[0]?.generation;
    if (generation === undefined) throw conflict("the user was changed at the same time: try again");
    return generation;
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

  /** Checks name and password, and does `then` in the transaction that takes note of the success. */
  async #admit<T>(
    login: string,
    password: string,
    visit: Visit,
    action: string,
    then: (tx: PrismaTransaction, user: StoredUser) => Promise<T>,
  ): Promise<T> {
    const { prisma, clock, attempts } = this.#deps;
    attempts.requireGoodAddress(visit, clock.now());
    const reference = userReference(login);
    return this.#turns.run(JSON.stringify(reference), async () => {
      const found = await prisma.user.findUnique({ where: reference, select: FIELDS });
      const user = await this.#check(found, password, action, visit);
      if (user === null) throw wrongCredentials();
      // Made with today's parameters while the password is at hand.
      const passwordHash = isOutdatedHash(user.passwordHash) ? await hashPassword(password) : null;
      return prisma.$transaction(async (tx) => {
        if (!(await this.#recordSuccess(tx, user, passwordHash))) throw wrongCredentials();
        const result = await then(tx, user);
        const principal = { ...toIdentity(user), origin: originOf(visit) };
        await audit(tx, principal, { action, target: target(principal) });
        return result;
      });
    });
  }

  /** False where what was checked no longer holds: another password, something narrowed, disabled since. */
  async #recordSuccess(tx: PrismaTransaction, user: StoredUser, newHash: string | null): Promise<boolean> {
    const unchanged = await tx.$executeRaw`
      UPDATE users SET failed_logins = 0, locked_until = NULL, last_login_at = ${this.#deps.clock.now()}::timestamptz,
        password_hash = ${newHash ?? user.passwordHash}
      WHERE id = ${user.id}::uuid AND password_hash = ${user.passwordHash}
        AND generation = ${user.generation}::int AND disabled_at IS NULL`;
    return unchanged > 0;
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

function toIdentity(user: StoredUser): Identity {
  return {
    kind: "user",
    id: user.id,
    name: user.username,
    organizationId: user.organizationId,
    projects: user.allProjects ? "all" : new Set(user.projects.map(({ projectId }) => projectId)),
    scopes: scopesOfRole(user.role),
  };
}

function originOf({ address, requestId }: Visit): Origin {
  return { address, requestId };
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
