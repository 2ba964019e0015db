import { conflict } from "../platform/errors.js";
import { type Database, type Sql, toJsonb } from "../platform/sql.js";
import { Acceptances } from "./acceptances.js";
import { CATALOG, type OperationKind, type OperationType } from "./catalog.js";
import { Claims } from "./claim.js";
import type { Dispatcher } from "./dispatcher.js";
import { type Inserted, insertionOf } from "./insertion.js";
import { type ListRequest, listing, type Visibility } from "./listing.js";
import {
  type LocklessRequest,
  type LockTarget,
  NEW_ROW,
  type NewRow,
  type OperationRequest,
  operationOf,
  rowOf,
} from "./new-operation.js";
import type { LedgerObserver } from "./observer.js";
import type {
  ClaimedOperation,
  Operation,
  OperationOrigin,
  OperationStep,
  Outcome,
  Progress,
} from "./operation.js";
import { OperationReader } from "./reading.js";
import type { Released, Taker } from "./release.js";
import { DEFAULT_CONCURRENCY, HAND_OVER, MINE, RESEND } from "./slots.js";
import { keyInFlight, type Taking } from "./takings.js";
import { AttemptWrites, type Finished } from "./writes.js";

const INSERT = {
  name: "operation_insert",
  text: `WITH ${insertionOf(`jsonb_to_recordset($1::jsonb) AS wish (${NEW_ROW})`, "$2", "$3")}`,
};

const LOCK = {
  name: "operation_lock",
  text: `INSERT INTO operation_locks (resource_type, resource_id, operation_id)
         SELECT * FROM unnest($1::text[], $2::uuid[]) AS wanted(type, id), (VALUES ($3::uuid)) AS mine(operation)
         ORDER BY 1, 2 ON CONFLICT DO NOTHING`,
};

const RENEW = {
  name: "operation_renew",
  text: `UPDATE operations SET lease_expires_at = clock_timestamp() + $3 * interval '1 millisecond'
         WHERE ${MINE} RETURNING cancel_requested_at IS NOT NULL AS "cancelRequested"`,
};

const STILL_MINE = { name: "operation_still_mine", text: `SELECT 1 FROM operations WHERE ${MINE} FOR SHARE` };

/**
 * Makes the answer to an operation that is about to be accepted. What it returns is called right before the operation is
 * written, and gives what keeps the answer with it; where it throws, nothing is accepted.
 */
export type Keeping = (operation: Operation) => Promise<() => Taking>;

export interface LedgerOptions {
  /** Told of what was accepted; absent: it waits for a look that somebody else sees to. */
  readonly dispatcher?: Pick<Dispatcher, "accepted">;
  readonly observer?: LedgerObserver;
  /** What can be asked for; default: the product's. */
  readonly catalog?: Readonly<Record<OperationType, OperationKind>>;
  /** Operations that an organization has running at once where nothing else was said of it. */
  readonly concurrency?: number;
}

/** Thrown where this attempt is no longer the operation's: stop, and change nothing more. */
export class LeaseLostError extends Error {
  constructor() {
    super("another attempt has taken this operation over");
    this.name = "LeaseLostError";
  }
}

/**
 * The record of all work: what was accepted, who works at it, what came of it. Every write of a worker is
 * conditional on its attempt, so one that slept past its lease can change nothing.
 */
export class Ledger {
  readonly #db: Database;
  readonly #dispatcher: Pick<Dispatcher, "accepted"> | undefined;
  readonly #concurrency: number;
  readonly #observer: LedgerObserver | undefined;
  readonly #catalog: Readonly<Record<OperationType, OperationKind>>;
  readonly #acceptances: Acceptances;
  readonly #claims: Claims;
  readonly #writes: AttemptWrites;
  readonly #reader: OperationReader;

  constructor(
    db: Database,
    { dispatcher, observer, catalog = CATALOG, concurrency = DEFAULT_CONCURRENCY }: LedgerOptions = {},
  ) {
    this.#db = db;
    this.#dispatcher = dispatcher;
    this.#concurrency = concurrency;
    this.#observer = observer;
    this.#catalog = catalog;
    this.#acceptances = new Acceptances(db, concurrency, dispatcher !== undefined);
    this.#claims = new Claims(db, concurrency);
    this.#writes = new AttemptWrites(db, concurrency);
    this.#reader = new OperationReader(db);
  }

  /**
   * Accepts work within the caller's transaction: the operation and its locks appear with the caller's own
   * effect or not at all, and are sent to workers when they are committed. Throws a conflict that names the blocking
   * operation where a lock is taken.
   */
  async request(tx: Sql, request: OperationRequest): Promise<Operation> {
    const row = this.#rowOf(request);
    const sends = this.#dispatcher !== undefined;
    const [inserted] = await tx.rows<Inserted>(INSERT, [toJsonb([row]), this.#concurrency, sends]);
    await this.#lock(tx, row.id, request.locks);
    const operation = operationOf(row);
    tx.afterCommit(() => this.#tell(row, operation, request.origin, inserted));
    return operation;
  }

  /**
   * Accepts work that locks nothing and whose caller writes nothing else, in one statement with others that are asked for
   * at the same time.
   * @throws a conflict where another request has the key, and what `keeping` throws
   */
  async accept(request: LocklessRequest, keeping?: Keeping): Promise<Operation> {
    const row = this.#rowOf(request);
    const operation = operationOf(row);
    const taking = keeping === undefined ? null : await keeping(operation);
    const inserted = await this.#acceptances.accept({ row, taking });
    if (inserted === undefined) throw keyInFlight();
    this.#tell(row, operation, request.origin, inserted);
    return operation;
  }

  /** Only haste: if this process dies before, a later sweep sends it. */
  #tell(row: NewRow, operation: Operation, origin: OperationOrigin, inserted: Inserted | undefined): void {
    this.#observer?.accepted(operation, origin);
    this.#dispatcher?.accepted(
      { id: row.id, region: row.region, type: row.operation_type, traceparent: row.traceparent },
      inserted?.sendAs ?? null,
    );
  }

  #rowOf(request: OperationRequest | LocklessRequest): NewRow {
    return rowOf(request, this.#catalog[request.operationType]);
  }

  async #lock(tx: Sql, operationId: string, wanted: readonly LockTarget[]): Promise<void> {
    if (wanted.length === 0) return;
    const locks = [...new Map(wanted.map((lock) => [`${lock.type}:${lock.id}`, lock])).values()];
    const types = locks.map((lock) => lock.type);
    const ids = locks.map((lock) => lock.id);
    if ((await tx.run(LOCK, [types, ids, operationId])) === locks.length) return;
    const [blocking] = await tx.rows<{ id: string; type: string }>(
      `SELECT o.id, o.operation_type AS type FROM operation_locks l JOIN operations o ON o.id = l.operation_id
       WHERE (l.resource_type, l.resource_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[])) AND o.id <> $3 LIMIT 1`,
      [types, ids, operationId],
    );
    if (blocking === undefined)
      throw conflict("another operation on this resource has just ended: try again", { retryAfter: 1 });
    throw conflict(`operation ${blocking.id} (${blocking.type}) is still running on this resource`, {
      operationId: blocking.id,
    });
  }

  /**
   * Takes an operation that nobody works at; null where it is done, gone, somebody's, or of another region, or its
   * organization has as many at work as it may.
   * @param regions that the worker serves
   */
  async claim(
    id: string,
    workerId: string,
    leaseMs: number,
    regions: readonly string[] = [],
  ): Promise<ClaimedOperation | null> {
    const operation = await this.#claims.claim({ id, workerId, leaseMs, regions });
    if (operation !== null) this.#observer?.claimed(operation);
    return operation;
  }

  /** Whether the database answers here, within the time that it has. */
  answers(): Promise<boolean> {
    return this.#db.rows("SELECT 1").then(
      () => true,
      () => false,
    );
  }

  /** Extends the lease. Throws LeaseLostError where another attempt has taken over. */
  async renew(id: string, attempt: number, leaseMs: number): Promise<{ cancelRequested: boolean }> {
    const [row] = await this.#db.rows<{ cancelRequested: boolean }>(RENEW, [id, attempt, leaseMs]);
    if (row === undefined) throw new LeaseLostError();
    return row;
  }

  async recordProgress(id: string, attempt: number, progress: Progress): Promise<void> {
    if (!(await this.#writes.note({ id, attempt, progress }))) throw new LeaseLostError();
  }

  async recordSteps(id: string, attempt: number, steps: readonly OperationStep[]): Promise<void> {
    if (!(await this.#writes.note({ id, attempt, steps }))) throw new LeaseLostError();
  }

  /**
   * One transaction of an attempt's own: rolled back, and LeaseLostError thrown, where another attempt has
   * taken over; the row is held, so nobody can until it ends.
   */
  async fenced<T>(id: string, attempt: number, work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#db.transaction(async (tx) => {
      if ((await tx.rows(STILL_MINE, [id, attempt])).length === 0) throw new LeaseLostError();
      return work(tx);
    });
  }

  /**
   * Ends an operation and frees its locks and its slot, or passes the slot on: to a waiting operation of the same
   * organization, where nobody else's waits. Throws LeaseLostError where another attempt has taken over.
   * @param settle what else is written with it, in one transaction
   * @param taker who works at the next one; null: none is claimed
   */
  async finish(
    id: string,
    attempt: number,
    outcome: Outcome,
    settle?: (tx: Sql) => Promise<void>,
    taker: Taker | null = null,
  ): Promise<Released> {
    const ref = { id, attempt };
    const ended = (finished: Finished | undefined): Finished => {
      if (finished === undefined) throw new LeaseLostError();
      return finished;
    };
    const { endedType, seconds, wasFull, next } =
      settle === undefined
        ? ended(await this.#writes.finish(ref, outcome, taker))
        : await this.#db.transaction(async (tx) =>
            ended(await this.#writes.finishWith(tx, ref, outcome, taker, settle)),
          );
    this.#observer?.finished(endedType, outcome.status, seconds);
    if (next !== null) this.#observer?.claimed(next);
    return { wasFull, next };
  }

  /**
   * Gives an operation back, to be claimed by any worker `pauseMs` from now; changes nothing where it was taken over.
   * @param region whose workers go on with it; null: those who could until now
   */
  async handOver(id: string, attempt: number, pauseMs = 0, region: string | null = null): Promise<void> {
    await this.#db.run(HAND_OVER, [id, attempt, pauseMs, region]);
  }

  /** Lets operations that were handed over be sent again: no queue holds their ids any more. */
  async resend(ids: readonly string[]): Promise<void> {
    await this.#db.run(RESEND, [ids]);
  }

  /** One operation, where the caller may see it. */
  async read(id: string, seenBy: Visibility): Promise<Operation | null> {
    return this.#reader.read(id, seenBy);
  }

  /** Operations that the caller may see, newest first. */
  async list(request: ListRequest): Promise<Operation[]> {
    const [statement, values] = listing(request);
    return this.#db.rows<Operation>(statement, values);
  }
}
