import type { Ledger } from "../../operations/ledger.js";
import type { Operation } from "../../operations/operation.js";
import type { Sql } from "../../platform/sql.js";
import { DEPLOYMENT, operationOf, type RecoverPayload } from "./operations.js";
import { holdDeployments } from "./record.js";
import { begin } from "./state.js";

const COUNT = {
  name: "deployment_recovery",
  text: `UPDATE deployments SET command_count = command_count + 1 WHERE id = $1 RETURNING command_count AS "commandCount"`,
};

/**
 * Accepts an operation that brings a deployment's server to where it should be, within the caller's transaction. Null
 * where its state allows none. Throws a conflict where another operation holds it: that one sees to the server.
 */
export async function requestRecovery(
  tx: Sql,
  ledger: Pick<Ledger, "request">,
  deploymentId: string,
): Promise<Operation | null> {
  const [deployment] = await holdDeployments(tx, [deploymentId]);
  if (deployment === undefined || begin("recover", deployment.state) === null) return null;
  const [counted] = await tx.rows<{ commandCount: number }>(COUNT, [deploymentId]);
  if (counted === undefined) return null;
  const payload: RecoverPayload = {
    deploymentId,
    command: counted.commandCount,
    before: deployment.state,
  };
  return ledger.request(tx, {
    organizationId: deployment.organizationId,
    projectId: deployment.projectId,
    operationType: operationOf("recover"),
    resource: { type: DEPLOYMENT, id: deploymentId },
    locks: [{ type: DEPLOYMENT, id: deploymentId }],
    region: deployment.region,
    payload,
    origin: { requestId: null },
    createdBy: { kind: "system", id: "supervisor", name: "supervisor" },
  });
}
