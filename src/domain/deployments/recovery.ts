import type { Ledger } from "../../operations/ledger.js";
import type { Operation } from "../../operations/operation.js";
import type { Sql } from "../../platform/sql.js";
import { system } from "../system.js";
import { acceptCommand } from "./accept.js";
import { holdDeployments } from "./record.js";
import { begin } from "./state.js";

/**
 * Accepts an operation that brings a deployment's server to where it should be, within the caller's transaction. Null
 * where its state allows none. Throws a conflict where another operation holds it: that one sees to the server.
 */
export async function requestRecovery(
  tx: Sql,
  ledger: Ledger,
  deploymentId: string,
): Promise<Operation | null> {
  const [on] = await holdDeployments(tx, [deploymentId]);
  if (on === undefined || begin("recover", on.state) === null) return null;
  return acceptCommand(tx, ledger, system("supervisor", on.organizationId), {
    command: "recover",
    on,
    extra: {},
  });
}
