import { type Principal, projectFilter } from "../../auth/principal.js";
import { holdOperation, isCancellable, requestCancel } from "../../operations/cancel.js";
import { announce } from "../../operations/changes.js";
import type { Dispatcher } from "../../operations/dispatcher.js";
import { isDone, type Operation } from "../../operations/operation.js";
import { conflict, notFound } from "../../platform/errors.js";
import type { Signals } from "../../platform/signals.js";
import type { Database, Sql } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import type { OnAccept } from "./sync.js";
import type { JobView } from "./view.js";

export interface CancelDeps {
  readonly db: Database;
  readonly dispatcher: Dispatcher;
  readonly signals: Signals;
}

/** Cancels operations. */
export class Cancellations {
  readonly #deps: CancelDeps;

  constructor(deps: CancelDeps) {
    this.#deps = deps;
  }

  /**
   * Asks for an operation to be cancelled; asking again changes nothing. What a handler has begun is taken back by
   * it, or was never to be seen; past its point of no return the operation succeeds all the same. Throws a conflict
   * where it is done, or cannot be cancelled.
   */
  async cancel(principal: Principal, operationId: string, onAccept?: OnAccept): Promise<Operation> {
    const { db, dispatcher, signals } = this.#deps;
    const operation = await db.transaction(async (tx) => {
      const accepted = await accept(tx, principal, operationId);
      await onAccept?.(tx, accepted);
      return accepted;
    });
    await announce(signals, operation.id, "cancel");
    // One that nobody works at is ended by the worker that gets it.
    void dispatcher.dispatch();
    return operation;
  }

  /** The same for the run of a job that is active. */
  async cancelRun(principal: Principal, job: JobView, onAccept?: OnAccept): Promise<Operation> {
    if (job.currentOperationId === null) throw conflict("no run of this job is active");
    return this.cancel(principal, job.currentOperationId, onAccept);
  }
}

async function accept(tx: Sql, principal: Principal, operationId: string): Promise<Operation> {
  const seenBy = { organizationId: principal.organizationId, projects: projectFilter(principal) };
  const operation = await holdOperation(tx, operationId, seenBy);
  if (operation === null) throw notFound("operation");
  const { id, status, operationType, projectId } = operation;
  if (isDone(status)) throw conflict(`operation ${id} is done already: ${status}`);
  if (!isCancellable(operationType)) throw conflict(`a ${operationType} cannot be cancelled`);
  if (status === "cancelling") return operation;
  const target = { type: "operation", id };
  await auditSql(tx, principal, {
    action: "operation.cancel",
    target,
    projectId,
    details: { operationType },
  });
  return requestCancel(tx, operation);
}
