import { expect } from "vitest";
import type { Scope } from "../../../src/auth/scopes.js";
import { DEFAULT_PLANS } from "../../../src/config/plans.js";
import { recordRegionReport } from "../../../src/domain/deployments/regions.js";
import { endCommand } from "../../../src/domain/deployments/settle.js";
import type { DeploymentState } from "../../../src/domain/deployments/state.js";
import type { ClaimedOperation, Outcome } from "../../../src/operations/operation.js";
import {
  type Answer,
  type CallOptions,
  type Credentials,
  type Installation,
  type InstallationOptions,
  openInstallation,
} from "../../support/installation.js";

/** A database as the api shows it, as far as tests look. */
export interface DatabaseAnswer {
  readonly id: string;
  readonly environmentId: string;
  readonly environmentType: string;
  readonly name: string;
  readonly engine: string;
  readonly domainName: string | null;
  readonly port: number | null;
  readonly connectionUrl: string | null;
  readonly createdAt: string;
  readonly plan: string;
  readonly version: { readonly number: string; readonly edition: string; readonly vendor: string };
  readonly region: string;
  readonly status: {
    readonly state: string;
    readonly isPending: boolean;
    readonly isLocked: boolean;
    readonly currentOperationId: string | null;
  };
  readonly nodes: readonly unknown[];
}

/** What is answered to what starts an operation, or failed to. */
export interface CommandAnswer {
  readonly operationId: string;
  readonly databaseId?: string;
  readonly snapshotId?: string;
  readonly exportId?: string;
  readonly error?: string;
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
}

export const ENGINES = [
  {
    engine: "graphneo",
    versions: [
      { number: "4.16.3", edition: "Valkey 8.0.2", vendor: "FalkorDB" },
      { number: "4.14.0", edition: "Valkey 8.0.2", vendor: "FalkorDB" },
    ],
    extras: ["BROWSER"],
    missing: null,
  },
  {
    engine: "postgres",
    versions: [],
    extras: [],
    missing: "install postgresql-15 (Debian: apt-get install postgresql-15)",
  },
];

/** A Gatehouse whose region has said what it can run, and nobody who does it. */
export async function openDeployments(options: InstallationOptions = {}): Promise<DeploymentsApi> {
  const gatehouse = await openInstallation({ worker: false, ...options });
  await report(gatehouse, "local", ENGINES);
  return new DeploymentsApi(gatehouse);
}

export function report(gatehouse: Installation, region: string, engines: typeof ENGINES): Promise<void> {
  return recordRegionReport(gatehouse.runtime.db, {
    region,
    engines,
    blockedPorts: [],
    reportedBy: "a test",
  });
}

export class DeploymentsApi {
  readonly gatehouse: Installation;
  #count = 0;

  constructor(gatehouse: Installation) {
    this.gatehouse = gatehouse;
  }

  call<T = CommandAnswer>(method: string, url: string, options?: CallOptions): Promise<Answer<T>> {
    return this.gatehouse.call<T>(method, url, options);
  }

  /** A name that no other database has. */
  name(): string {
    this.#count += 1;
    return `db ${this.#count}`;
  }

  /** A database in a state, held by no operation. */
  async database(
    state: DeploymentState = "running",
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<DatabaseAnswer> {
    const body = { name: this.name(), plan: "ds1", environmentId: "default", ...more };
    const made = await this.call<{ database: DatabaseAnswer; operationId: string }>(
      "POST",
      "/deployments/databases/graphneo",
      { body },
    );
    expect(made.status, made.text).toBe(202);
    await this.end(made.body.operationId);
    await this.put(made.body.database.id, state);
    return made.body.database;
  }

  /** Sets a state as if its commands had been done. */
  async put(id: string, state: DeploymentState): Promise<void> {
    const { database } = this.gatehouse;
    await database.query("DELETE FROM operation_locks WHERE resource_id = $1", [id]);
    await database.query("UPDATE deployments SET state = $2 WHERE id = $1", [id, state]);
  }

  read(id: string, options?: CallOptions): Promise<Answer<DatabaseAnswer>> {
    return this.call<DatabaseAnswer>("GET", `/databases/${id}`, options);
  }

  command(id: string, name: string, body?: unknown, options: CallOptions = {}) {
    return this.call("PUT", `/databases/${id}/${name}`, {
      ...(body === undefined ? {} : { body }),
      ...options,
    });
  }

  /** Does what a worker does when it has done a command. */
  async end(
    operationId: string,
    outcome: Outcome = { status: "succeeded", result: {} },
  ): Promise<ClaimedOperation> {
    const { ledger, masterKey } = this.gatehouse.runtime;
    const operation = await ledger.claim(operationId, "a test", 60_000, ["local"]);
    if (operation === null) throw new Error(`operation ${operationId} is not to be had`);
    const deps = { masterKey, planOf: (id: string) => DEFAULT_PLANS.find((plan) => plan.id === id) ?? null };
    await ledger.finish(operationId, operation.attempt, outcome, (tx) =>
      endCommand(tx, deps, operation, outcome),
    );
    return operation;
  }

  /** A token of a client that may do this. */
  async token(options: {
    scopes?: readonly Scope[];
    projects?: readonly string[];
    organization?: string;
  }): Promise<string> {
    return this.gatehouse.token(await this.gatehouse.createClient(options));
  }

  tokenOf(client: Credentials): Promise<string> {
    return this.gatehouse.token(client);
  }
}

export const archive = { bytes: 11, sha256: "ab".repeat(32) };

/** RFC 7231 section 7.1.1.1. */
export const HTTP_DATE = expect.stringMatching(
  /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/,
);
