import { type Principal, projectFilter } from "../../auth/principal.js";
import { chainOperations, holdOperation, payloadOf } from "../../operations/cancel.js";
import { announce } from "../../operations/changes.js";
import type { Ledger } from "../../operations/ledger.js";
import type { Operation } from "../../operations/operation.js";
import { AppError, conflict, notFound } from "../../platform/errors.js";
import type { Signals } from "../../platform/signals.js";
import type { Database, Sql } from "../../platform/sql.js";
import { acceptRun, type JobToRun, lockJob, type OnAccept } from "./sync.js";

export interface RetryDeps {
  readonly db: Database;
  readonly ledger: Ledger;
  readonly signals: Signals;
}

/** Does again what has failed or was cancelled. */
export class Retries {
  readonly #deps: RetryDeps;

  constructor(deps: RetryDeps) {
    this.#deps = deps;
  }

  /**
   * Accepts a new run of the job as it is now, and chains the two operations, in one transaction: one is retried
   * once, and its successor after it. Throws a conflict where there is nothing to do again, naming the operation
   * that does it already.
   */
  async retry(principal: Principal, operationId: string, onAccept?: OnAccept): Promise<Operation> {
    const { db, ledger, signals } = this.#deps;
    const operation = await db.transaction(async (tx) => {
      const job = await holdJobOf(tx, principal, operationId);
      const next = await acceptRun(tx, ledger, principal, job, "retry");
      await chainOperations(tx, operationId, next.id);
      await onAccept?.(tx, next);
      return next;
    });
    await announce(signals, operationId, "changed");
    return operation;
  }
}

/** The job whose run the operation was, after a look whether that may be done again. */
async function holdJobOf(tx: Sql, principal: Principal, operationId: string): Promise<JobToRun> {
  const seenBy = { organizationId: principal.organizationId, projects: projectFilter(principal) };
  const failed = await holdOperation(tx, operationId, seenBy);
  if (failed === null) throw notFound("operation");
  if (failed.operationType !== "sync")
    throw conflict(`a ${failed.operationType} cannot be retried: ask anew`);
  if (failed.status !== "failed" && failed.status !== "cancelled") {
    throw conflict(`operation ${failed.id} is ${failed.status}: only failed and cancelled ones are retried`);
  }
  const { nextOperationId } = failed;
  if (nextOperationId !== null) {
    throw conflict(`operation ${failed.id} was retried already, by operation ${nextOperationId}`, {
      operationId: nextOperationId,
    });
  }
  const { jobId } = (await payloadOf(tx, failed.id)) as { readonly jobId: string };
  return lockJob(tx, principal, jobId).catch((error: unknown) => {
    const isGone = error instanceof AppError && error.code === "not_found";
    throw isGone ? conflict("the job of this operation was deleted") : error;
  });
}
