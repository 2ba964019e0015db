import { holdOperation, requestCancel } from "../../src/operations/cancel.js";
import { LeaseLostError, type Ledger } from "../../src/operations/ledger.js";
import type { ClaimedOperation, Outcome } from "../../src/operations/operation.js";
import { AppError } from "../../src/platform/errors.js";
import type { Database } from "../../src/platform/sql.js";
import type { Answer, ModelOperation, Step } from "./ledger-model.js";
import { type LedgerBench, lockless, wish } from "./support.js";

/** One process's ledger, and its connections. */
export interface LedgerProcess {
  readonly ledger: Ledger;
  readonly db: Database;
}

/** No lease runs out by itself. */
const TAKER = { workerId: "a worker", leaseMs: 600_000, regions: [] };

/** Does a step of the model to a ledger; what it was told. */
export async function takeStep(
  step: Step,
  { ledger, db }: LedgerProcess,
  { bench, organizationId }: { readonly bench: LedgerBench; readonly organizationId: string },
): Promise<Answer> {
  const { id, attempt } = step;
  switch (step.do) {
    case "request":
      return request(step, { ledger, db }, organizationId);
    case "claim":
      return handOf(await ledger.claim(id, TAKER.workerId, TAKER.leaseMs));
    case "expire":
      await bench.expireLease(id);
      return null;
    case "cancel":
      return db.transaction(async (tx) => {
        const held = await holdOperation(tx, id, { organizationId, projects: null });
        return held === null ? null : { status: (await requestCancel(tx, held)).status };
      });
    case "hand over":
      await ledger.handOver(id, attempt, step.paused ? TAKER.leaseMs : 0);
      return null;
    case "renew":
      return unlessLost(ledger.renew(id, attempt, TAKER.leaseMs));
    case "progress":
      return unlessLost(ledger.recordProgress(id, attempt, { percent: 1, message: "" }).then(landed));
    case "steps":
      return unlessLost(ledger.recordSteps(id, attempt, []).then(landed));
    case "fenced":
      return unlessLost(ledger.fenced(id, attempt, async () => {}).then(landed));
    case "finish": {
      // In both ways: with something else to write, and without.
      const settle = step.ending === "succeeded" ? undefined : async () => {};
      const taker = step.hasTaker ? TAKER : null;
      const finished = ledger.finish(id, attempt, outcomeOf(step.ending), settle, taker);
      return unlessLost(finished.then(({ next }) => ({ next: handOf(next) })));
    }
  }
}

async function request(
  { id, resources }: Step,
  { ledger, db }: LedgerProcess,
  organizationId: string,
): Promise<Answer> {
  const locks = resources.map((resource) => ({ type: "thing", id: resource }));
  try {
    if (locks.length === 0) await ledger.accept(lockless({ id, organizationId }));
    else await db.transaction((tx) => ledger.request(tx, wish({ id, organizationId, locks })));
    return "accepted";
  } catch (error) {
    if (error instanceof AppError && error.code === "conflict") return "conflict";
    throw error;
  }
}

async function unlessLost<T>(write: Promise<T>): Promise<T | "lost"> {
  try {
    return await write;
  } catch (error) {
    if (error instanceof LeaseLostError) return "lost";
    throw error;
  }
}

const landed = () => "landed" as const;

function handOf(claimed: ClaimedOperation | null): Extract<Answer, { attempt: number }> | null {
  return claimed && { id: claimed.id, status: claimed.status, attempt: claimed.attempt };
}

function outcomeOf(ending: Step["ending"]): Outcome {
  if (ending === "succeeded") return { status: "succeeded", result: 1 };
  if (ending === "cancelled") return { status: "cancelled" };
  return { status: "failed", error: { type: "x", title: "x", status: 500, detail: "x" } };
}

/** All operations, as the model has them. */
export function rowsOf(bench: LedgerBench): Promise<ModelOperation[]> {
  return bench.database.query(
    `SELECT id, status, attempt,
       CASE WHEN leased_by IS NULL OR leased_by = '' AND lease_expires_at < clock_timestamp() THEN 'none'
         WHEN leased_by = '' THEN 'paused' WHEN lease_expires_at < clock_timestamp() THEN 'over' ELSE 'held' END AS lease,
       (SELECT count(*)::int FROM operation_slots WHERE operation_id = id) AS slots,
       ARRAY(SELECT resource_id::text FROM operation_locks WHERE operation_id = id ORDER BY 1) AS locks
     FROM operations ORDER BY id`,
  );
}
