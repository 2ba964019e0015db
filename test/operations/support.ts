import { pino } from "pino";
import { Ledger, type LedgerOptions } from "../../src/operations/ledger.js";
import type { LocklessRequest, LockTarget, OperationRequest } from "../../src/operations/new-operation.js";
import type { Operation } from "../../src/operations/operation.js";
import { newId } from "../../src/platform/ids.js";
import { Database, type Sql } from "../../src/platform/sql.js";
import { createDatabase, type TestDatabase } from "../support/database.js";

export const silent = pino({ level: "silent" });

/** A ledger on a database of its own. */
export interface LedgerBench {
  readonly database: TestDatabase;
  readonly db: Database;
  readonly ledger: Ledger;
  /** Accepts an operation, in a transaction of its own. */
  accept(wish?: Partial<OperationRequest>): Promise<Operation>;
  /** The operation's whole row. */
  row(id: string): Promise<OperationRow>;
  /** The locks that an operation holds. */
  locks(id: string): Promise<LockTarget[]>;
  /** Lets the lease of an operation run out. */
  expireLease(id: string): Promise<void>;
  /** Whether a statement that contains this text waits for a lock. */
  isWaited(text: string): Promise<boolean>;
  close(): Promise<void>;
}

export interface OperationRow {
  readonly status: string;
  readonly attempt: number;
  readonly leased_by: string | null;
  readonly lease_expires_at: Date | null;
  readonly dispatched_at: Date | null;
  readonly progress: unknown;
  readonly steps: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string | null;
  }[];
  readonly result: unknown;
  readonly error: { readonly type: string; readonly detail: string } | null;
  readonly payload_secrets: Buffer | null;
}

export const LEASE_MS = 5_000;

/** A statement as it was sent. */
export interface Sent {
  readonly text: string;
  readonly values?: readonly unknown[];
}

/** The first statement that some work sends to a database that answers nothing. */
export async function firstStatement(work: (db: Database) => Promise<unknown>): Promise<Sent> {
  const sent: Sent[] = [];
  const rows = async (statement: { text: string }, values: readonly unknown[]): Promise<never[]> => {
    sent.push({ text: statement.text, values });
    return [];
  };
  await work({ rows } as unknown as Database);
  const [first] = sent;
  if (first === undefined) throw new Error("nothing was sent");
  return first;
}

/** How a statement is done, and how many pages it reads. It is done: its effects are there. */
export async function explained(
  sql: Sql,
  { text, values = [] }: Sent,
): Promise<{ readonly plan: Readonly<Record<string, unknown>>; readonly pages: number }> {
  const [row] = await sql.rows<{ "QUERY PLAN": { Plan: Record<string, unknown> }[] }>(
    `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${text}`,
    values,
  );
  const plan = row?.["QUERY PLAN"][0]?.Plan;
  if (plan === undefined) throw new Error("a statement without a plan");
  return { plan, pages: Number(plan["Shared Hit Blocks"]) + Number(plan["Shared Read Blocks"]) };
}

export function wish(more: Partial<OperationRequest> = {}): OperationRequest {
  return {
    organizationId: newId(),
    projectId: null,
    operationType: "sync",
    resource: { type: "run", id: newId() },
    locks: [],
    payload: {},
    createdBy: { kind: "client", id: newId(), name: "a test" },
    origin: { requestId: null },
    ...more,
  };
}

/** The same, without locks (`Ledger.accept`). */
export function lockless(more: Partial<LocklessRequest> = {}): LocklessRequest {
  const { locks: _, ...request } = wish();
  return { ...request, ...more };
}

/** Says how many operations an organization may have at work. */
export async function giveSlots(
  { database }: LedgerBench,
  organizationId: string,
  concurrency: number,
): Promise<void> {
  await database.query(
    `INSERT INTO organizations (id, name, concurrency) VALUES ($1, 'one', $2)
     ON CONFLICT (id) DO UPDATE SET concurrency = excluded.concurrency`,
    [organizationId, concurrency],
  );
}

export async function openLedger(options: LedgerOptions = {}): Promise<LedgerBench> {
  const database = await createDatabase();
  const db = new Database(database.url, 20, silent);
  const ledger = new Ledger(db, options);
  return {
    database,
    db,
    ledger,
    accept: (more) => db.transaction((tx) => ledger.request(tx, wish(more))),
    async row(id) {
      const [row] = await database.query<OperationRow>("SELECT * FROM operations WHERE id = $1", [id]);
      if (row === undefined) throw new Error(`there is no operation ${id}`);
      return row;
    },
    locks: (id) =>
      database.query<LockTarget>(
        `SELECT resource_type AS type, resource_id AS id FROM operation_locks WHERE operation_id = $1 ORDER BY 1, 2`,
        [id],
      ),
    async expireLease(id) {
      await database.query(
        `UPDATE operations SET lease_expires_at = clock_timestamp() - interval '1 second' WHERE id = $1`,
        [id],
      );
    },
    isWaited: async (text) => {
      const waiting = await database.query(
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
         AND strpos(query, $1) > 0 AND pid <> pg_backend_pid()`,
        [text],
      );
      return waiting.length > 0;
    },
    async close() {
      await db.close();
      await database.drop();
    },
  };
}
