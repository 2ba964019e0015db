import type { Database, Sql } from "../platform/sql.js";
import type { Operation } from "./operation.js";
import { Together } from "./together.js";

/** A transaction for several does not wait longer for what somebody else holds: each goes on in one of its own. */
const PATIENCE_MS = 100;

/** Work that is accepted with nothing else to write but what `onAccept` writes of the answer. */
export interface Acceptance<Request> {
  readonly request: Request;
  readonly onAccept: (tx: Sql, operation: Operation) => Promise<void>;
}

/**
 * Accepts operations, group committed: those that are asked for while one transaction is under way go together in the
 * next. Where one of them is in the way of that (a conflict, a lock that another process holds) it is taken back, and
 * each has a transaction of its own.
 */
export class Acceptances<Request> {
  readonly #together: Together<Acceptance<Request>, Operation>;

  /** @param insert makes the operations with their locks, in the order of the requests; all of them, or it rejects */
  constructor(db: Database, insert: (tx: Sql, requests: readonly Request[]) => Promise<Operation[]>) {
    this.#together = new Together((acceptances, locking) =>
      db.transaction(
        async (tx) => {
          const operations = await insert(
            tx,
            acceptances.map(({ request }) => request),
          );
          const kept = acceptances.map(({ onAccept }, nr) => onAccept(tx, operations[nr] as Operation));
          // All of them, before the transaction ends: none may write when it has.
          for (const each of await Promise.allSettled(kept))
            if (each.status === "rejected") throw each.reason;
          return operations;
        },
        locking === "FOR UPDATE" ? {} : { lockTimeoutMs: PATIENCE_MS },
      ),
    );
  }

  /** @throws what the request or `onAccept` alone would be refused with */
  async accept(acceptance: Acceptance<Request>): Promise<Operation> {
    const operation = await this.#together.write(acceptance);
    if (operation === undefined) throw new Error("an accepted operation was not returned");
    return operation;
  }
}
