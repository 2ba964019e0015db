import type { Sql } from "../platform/sql.js";
import { CATALOG, type OperationKind } from "./catalog.js";
import { COLUMNS } from "./columns.js";
import type { Visibility } from "./listing.js";
import type { Operation } from "./operation.js";

const HOLD = {
  name: "operation_hold",
  text: `SELECT ${COLUMNS} FROM operations WHERE id = $1 AND organization_id = $2
         AND ($3::uuid[] IS NULL OR project_id = ANY ($3)) FOR UPDATE`,
};

const CANCEL = {
  name: "operation_cancel",
  text: `UPDATE operations SET status = 'cancelling', cancel_requested_at = clock_timestamp(), revision = revision + 1
         WHERE id = $1 AND status IN ('pending', 'running') RETURNING ${COLUMNS}`,
};

const CHAIN = {
  name: "operation_chain",
  text: "UPDATE operations SET next_operation_id = $2, revision = revision + 1 WHERE id = $1",
};

const WORK_OF = { name: "operation_payload", text: "SELECT payload FROM operations WHERE id = $1" };

/** An operation that the caller may see, held until the transaction ends: nobody claims or ends it meanwhile. */
export async function holdOperation(tx: Sql, id: string, seenBy: Visibility): Promise<Operation | null> {
  const [operation] = await tx.rows<Operation>(HOLD, [id, seenBy.organizationId, seenBy.projects]);
  return operation ?? null;
}

/** Whether operations of a type heed a wish to be cancelled; those of another version's types do not. */
export function isCancellable(operationType: string): boolean {
  return (CATALOG as Readonly<Record<string, OperationKind>>)[operationType]?.cancellable === true;
}

/**
 * Writes the wish down (DESIGN.md section 4, point 8): whoever works at the operation stops. One that waits, or
 * whose worker has died, is delivered as ever, and ended by the worker that claims it, without being run: so there
 * is one way in which operations end, with everything that ends with them.
 * @param operation held, and not done; one that is being cancelled already stays as it is
 */
export async function requestCancel(tx: Sql, operation: Operation): Promise<Operation> {
  const [cancelling] = await tx.rows<Operation>(CANCEL, [operation.id]);
  return cancelling ?? operation;
}

/** Says which operation does again what one has not brought to a good end. */
export async function chainOperations(tx: Sql, id: string, nextId: string): Promise<void> {
  await tx.run(CHAIN, [id, nextId]);
}

/** What an operation was asked to do. */
export async function payloadOf(tx: Sql, id: string): Promise<unknown> {
  const [row] = await tx.rows<{ payload: unknown }>(WORK_OF, [id]);
  return row?.payload ?? null;
}
