import { DEFAULT_PLANS } from "../../src/config/plans.js";
import type { Region } from "../../src/config/regions.js";
import { allocatePort } from "../../src/domain/deployments/address.js";
import { operationOf, type Payloads } from "../../src/domain/deployments/operations.js";
import { type DeploymentRecord, readDeployment } from "../../src/domain/deployments/record.js";
import { newSecrets, sealSecrets, USERNAME } from "../../src/domain/deployments/secrets.js";
import { endCommand } from "../../src/domain/deployments/settle.js";
import type { Command, DeploymentState } from "../../src/domain/deployments/state.js";
import type { ClaimedOperation, Outcome } from "../../src/operations/operation.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { newId } from "../../src/platform/ids.js";
import { LEASE_MS, type LedgerBench, openLedger, wish } from "../operations/support.js";

export const REGION: Region = {
  name: "local",
  description: "this machine",
  substrate: { type: "process", folder: "/nowhere", firstUid: null },
  host: "127.0.0.1",
  domainName: "localhost",
  ports: { from: 20_000, to: 20_003 },
};

/** Rows of deployments, and commands on them, without anybody who does them. */
export interface DeploymentBench extends LedgerBench {
  readonly masterKey: MasterKey;
  readonly organizationId: string;
  readonly projectId: string;
  /** A deployment, with an address. */
  deployment(state?: DeploymentState, more?: { name?: string; plan?: string }): Promise<DeploymentRecord>;
  read(id: string): Promise<DeploymentRecord>;
  /** A command's operation in the hands of a worker. */
  begin<C extends Command>(command: C, payload: Payloads[C], secrets?: Uint8Array): Promise<ClaimedOperation>;
  /** Ends it, and settles what it held. */
  end(operation: ClaimedOperation, outcome: Outcome): Promise<void>;
}

export const succeeded = (result: unknown = {}): Outcome => ({ status: "succeeded", result });
export const failed: Outcome = {
  status: "failed",
  error: { type: "urn:gatehouse:error:test", title: "Test", status: 500, detail: "it failed" },
};
export const cancelled: Outcome = { status: "cancelled" };

export async function openDeployments(): Promise<DeploymentBench> {
  const bench = await openLedger();
  const { db, ledger, database } = bench;
  const masterKey = new MasterKey(MasterKey.generate());
  const [organizationId, projectId] = [newId(), newId()];
  await database.query("INSERT INTO organizations (id, name) VALUES ($1, 'one')", [organizationId]);
  await database.query(
    "INSERT INTO projects (id, organization_id, slug, name) VALUES ($1, $2, 'one', 'one')",
    [projectId, organizationId],
  );
  const read = async (id: string): Promise<DeploymentRecord> => {
    const row = await readDeployment(db, id);
    if (row === null) throw new Error(`there is no deployment ${id}`);
    return row;
  };
  const deps = { masterKey, planOf: (id: string) => DEFAULT_PLANS.find((plan) => plan.id === id) ?? null };
  return {
    ...bench,
    ...{ masterKey, organizationId, projectId, read },
    async deployment(state = "running", { name, plan = "ds1" } = {}) {
      const id = newId();
      const { secrets, keyId } = sealSecrets(masterKey, id, newSecrets());
      await db.transaction(async (tx) => {
        const port = await allocatePort(tx, REGION);
        await tx.run(
          `INSERT INTO deployments (id, organization_id, project_id, name, engine, version, plan, region, state, port,
             username, secrets, key_id, created_by)
           VALUES ($1, $2, $3, $4, 'graphneo', '4.16.3', $5, 'local', $6, $7, $8, $9, $10, 'a test')`,
          [id, organizationId, projectId, name ?? id, plan, state, port, USERNAME, secrets, keyId],
        );
      });
      return read(id);
    },
    async begin(command, payload, payloadSecrets) {
      const operation = await db.transaction((tx) =>
        ledger.request(tx, {
          ...wish({ organizationId, projectId, operationType: operationOf(command), payload }),
          ...(payloadSecrets === undefined ? {} : { payloadSecrets }),
        }),
      );
      const claimed = await ledger.claim(operation.id, "a worker", LEASE_MS);
      if (claimed === null) throw new Error("nobody else works here");
      return claimed;
    },
    async end(operation, outcome) {
      await ledger.finish(operation.id, operation.attempt, outcome, (tx) =>
        endCommand(tx, deps, operation, outcome),
      );
    },
  };
}

/** A deployment as a command's operation names it. */
export function target({ id }: DeploymentRecord, before: DeploymentState = "running") {
  return { deploymentId: id, command: 1, before };
}
