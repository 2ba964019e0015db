import type { Principal } from "../../auth/principal.js";
import type { Keeping, Ledger } from "../../operations/ledger.js";
import type { LocklessRequest } from "../../operations/new-operation.js";
import type { Operation } from "../../operations/operation.js";
import type { Waiters } from "../../operations/waiters.js";
import type { MasterKey } from "../../platform/crypto.js";
import { AppError, invalid } from "../../platform/errors.js";
import { newId } from "../../platform/ids.js";
import type { Project } from "../projects/projects.js";
import { type Config, checkConfig, type Role, withDefaults } from "./config.js";
import type { Connections } from "./connections.js";

/** Workers have this long; then the request is answered without them. */
const LIMIT_MS = 10_000;
/** The operation's own limit is the same: a little more for its end to be recorded and heard of. */
const MARGIN_MS = 1_000;

/** Ends of an operation that say nothing of what was asked about: the same question may be answered next time. */
const FAULTS_OF_OURS: ReadonlySet<string> = new Set([
  "urn:gatehouse:error:abandoned",
  "urn:gatehouse:error:internal",
]);

export interface ProbeTarget {
  readonly type: string;
  readonly version: string;
  readonly config: Config;
}

export interface ProbeLog {
  readonly level: string;
  readonly time: string;
  readonly message: string;
}

export interface CheckResult {
  readonly status: "SUCCEEDED" | "FAILED";
  readonly message: string;
  readonly logs: readonly ProbeLog[];
}

export interface DiscoveredStream {
  readonly name: string;
  readonly namespace?: string;
  readonly columns: readonly { readonly name: string; readonly type: string; readonly nullable: boolean }[];
  readonly primaryKey: readonly string[];
  readonly cursorFields: readonly string[];
  readonly syncModes: readonly string[];
}

export interface ProbeDeps {
  readonly ledger: Ledger;
  readonly waiters: Waiters;
  readonly connections: Connections;
  readonly masterKey: MasterKey;
}

/** Who asks what of which store. */
export interface Question {
  readonly type: "check" | "discover";
  readonly principal: Principal;
  readonly project: Project;
  readonly role: Role;
  readonly target: ProbeTarget;
}

/** Short questions to a store, which a worker asks: only workers reach stores. */
export class Probes {
  readonly #deps: ProbeDeps;

  constructor(deps: ProbeDeps) {
    this.#deps = deps;
  }

  /** The operation when it has ended, or after 10 s: a request waits for it. */
  async ask(question: Question): Promise<Operation> {
    const { ledger, waiters } = this.#deps;
    const operation = await this.#accept(question);
    await waiters.wait(operation.id, LIMIT_MS + MARGIN_MS);
    const seenBy = { organizationId: operation.organizationId, projects: null };
    return (await ledger.read(operation.id, seenBy)) ?? operation;
  }

  /**
   * The operation as it was accepted; nobody waits for it, and it takes its turn.
   * @param keeping keeps what is answered with it
   */
  begin(question: Question, keeping?: Keeping): Promise<Operation> {
    return this.#accept(question, { unhurried: true }, keeping);
  }

  async #accept(
    { type, principal, project, role, target }: Question,
    more: Pick<LocklessRequest, "unhurried"> = {},
    keeping?: Keeping,
  ): Promise<Operation> {
    const { ledger, connections, masterKey } = this.#deps;
    const spec = connections.spec(role, target.type, target.version);
    const sent = await connections.unmasked(project, role, target);
    checkConfig(spec, sent);
    const config = withDefaults(spec, sent);
    const id = newId();
    const request: LocklessRequest = {
      ...more,
      id,
      organizationId: project.organizationId,
      projectId: project.id,
      operationType: type,
      resource: { type: "project", id: project.id },
      payload: { role, type: target.type, version: target.version },
      payloadSecrets: masterKey.encrypt("operation-payloads", id, JSON.stringify(config)),
      createdBy: { kind: principal.kind, id: principal.id, name: principal.name },
      origin: principal.origin,
    };
    return ledger.accept(request, keeping);
  }
}

/**
 * What a check found. A store that cannot be reached is a FAILED result, not an error; that no worker was there to try
 * says nothing of the store. Throws "unavailable" then.
 */
export function checkResultOf(operation: Operation): CheckResult {
  if (operation.status === "succeeded") return operation.result as CheckResult;
  return { status: "FAILED", message: reasonOf(operation), logs: [] };
}

/** What a source offers. Throws an invalid request that says why where it cannot be read; "unavailable" as above. */
export function streamsOf(operation: Operation): readonly DiscoveredStream[] {
  if (operation.status === "succeeded") return (operation.result as { streams: DiscoveredStream[] }).streams;
  throw invalid(reasonOf(operation));
}

/** What a store had against it. Throws "unavailable" where no store was asked, or not to the end. */
function reasonOf({ error }: Operation): string {
  if (error !== null && !FAULTS_OF_OURS.has(error.type)) return error.detail;
  throw new AppError("unavailable", "no worker answered within 10 s; is one running?", {
    details: { retryAfter: 5 },
  });
}
