import type { Principal } from "../../auth/principal.js";
import { type Role, scopesOfRole } from "../../auth/roles.js";
import type { Clock } from "../../platform/clock.js";
import type { MasterKey } from "../../platform/crypto.js";
import { AppError, conflict } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import { isUniqueViolation, type PrismaClient, type PrismaTransaction } from "../../platform/prisma.js";
import { audit } from "../audit/audit.js";
import type { Attempts } from "./attempts.js";
import {
  closeFirstSignUp,
  defaultOrganizationId,
  lockFirstSignUp,
  readFirstSignUp,
} from "./bootstrap-token.js";
import { canonicalNames, type PersonNames } from "./names.js";
import { hashPassword, requireGoodPassword } from "./passwords.js";
import { anonymousAuditRow, type Visit } from "./visit.js";

export interface SignUpDeps {
  readonly prisma: PrismaClient;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
  readonly attempts: Attempts;
  /** ALLOW_SIGNUP: whether more people than the first may sign up by themselves. */
  readonly allowSignUp: boolean;
}

export interface SignUpInput extends PersonNames {
  readonly password: string;
  /** The token that was printed at the first start; null: none was sent. */
  readonly bootstrapToken: string | null;
}

/** What a sign-up leads to: a role, or a refusal with what the audit log says of it. */
type Admission =
  | { readonly role: Role; readonly first: boolean }
  | { readonly refused: AppError; readonly reason: string; readonly outcome: "failure" | "denied" };

/** People who make their own accounts. */
export class SignUps {
  readonly #deps: SignUpDeps;

  constructor(deps: SignUpDeps) {
    this.#deps = deps;
  }

  /**
   * Makes a user of the first organization. The first one, from this machine or with the bootstrap token, owns it;
   * later ones watch, where the operator lets them in at all (contracts/project-api.md).
   * @returns the names as they are stored
   */
  async signUp(input: SignUpInput, visit: Visit): Promise<PersonNames> {
    const { prisma, clock, attempts } = this.#deps;
    attempts.countSignUp(visit, clock.now());
    // Before any work: who is refused costs no hash.
    await this.#admitOrRefuse(prisma, input, visit);
    const names = canonicalNames(input);
    requireGoodPassword(input.password, names);
    const passwordHash = await hashPassword(input.password);
    const refused = await prisma
      .$transaction((tx) => this.#create(tx, { ...names, passwordHash }, input, visit))
      .catch((error: unknown) => {
        throw isUniqueViolation(error) ? taken() : error;
      });
    if (refused !== null) throw await this.#refuse(refused, visit);
    return names;
  }

  /** @returns the refusal, where another sign-up came first: it is written down outside of this transaction */
  async #create(
    tx: PrismaTransaction,
    row: PersonNames & { readonly passwordHash: string },
    input: SignUpInput,
    visit: Visit,
  ): Promise<Extract<Admission, { refused: AppError }> | null> {
    await lockFirstSignUp(tx);
    const admission = await this.#admit(tx, input, visit);
    if ("refused" in admission) return admission;
    const { role, first } = admission;
    const { username, email } = row;
    if ((await tx.user.count({ where: { OR: [{ username }, { email }] } })) > 0) throw taken();
    const organizationId = await defaultOrganizationId(tx);
    const id = newId();
    await tx.user.create({
      data: { id, organizationId, ...row, role, allProjects: true, createdBy: username },
    });
    if (first) await closeFirstSignUp(tx, id);
    const principal: Principal = {
      ...{ kind: "user", id, name: username, organizationId, projects: "all", scopes: scopesOfRole(role) },
      origin: { address: visit.address, requestId: visit.requestId },
    };
    await audit(tx, principal, {
      action: "user.signup",
      target: { type: "user", id },
      details: { role, first, by: input.bootstrapToken === null ? "sign-up" : "bootstrap token" },
    });
    return null;
  }

  async #admitOrRefuse(tx: PrismaTransaction, input: SignUpInput, visit: Visit): Promise<void> {
    const admission = await this.#admit(tx, input, visit);
    if ("refused" in admission) throw await this.#refuse(admission, visit);
  }

  async #admit(tx: PrismaTransaction, { bootstrapToken }: SignUpInput, visit: Visit): Promise<Admission> {
    const first = await readFirstSignUp(tx, this.#deps.masterKey);
    if (bootstrapToken !== null) {
      if (first.accepts(bootstrapToken)) return { role: "owner", first: true };
      const message = "the bootstrap token is wrong, or was used: an administrator creates users here";
      return {
        refused: new AppError("forbidden", message),
        reason: "wrong bootstrap token",
        outcome: "failure",
      };
    }
    if (first.open && visit.local) return { role: "owner", first: true };
    if (this.#deps.allowSignUp) return { role: "viewer", first: false };
    const message = first.open
      ? "the first sign-up comes from the machine itself, or carries the bootstrap token that was printed at the first start"
      : "sign-up is closed: an administrator creates users here";
    return { refused: new AppError("forbidden", message), reason: "closed", outcome: "denied" };
  }

  /** Writes a refusal down, and gives the error to throw. */
  async #refuse({ refused, reason, outcome }: Extract<Admission, { refused: AppError }>, visit: Visit) {
    const { prisma } = this.#deps;
    const entry = { action: "user.signup", outcome, details: { reason } };
    const claim = { organizationId: await defaultOrganizationId(prisma), username: null };
    await prisma.auditEvent.create({ data: anonymousAuditRow(visit, claim, entry) });
    return refused;
  }
}

function taken(): AppError {
  return conflict("the user name or the e-mail address is taken: choose another, or log in");
}
