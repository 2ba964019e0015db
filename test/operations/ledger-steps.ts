import { holdOperation, requestCancel } from "../../src/operations/cancel.js";
import { LeaseLostError, type Ledger } from "../../src/operations/ledger.js";
import type { ClaimedOperation, Outcome } from "../../src/operations/operation.js";
import { AppError } from "../../src/platform/errors.js";
import type { Database } from "../../src/platform/sql.js";
import type { Answer, ModelOperation, Step } from "./ledger-model.js";
import { giveSlots, type LedgerBench, lockless, wish } from "./support.js";

/** One process's ledger, and its connections. */
export interface LedgerProcess {
  readonly ledger: Ledger;
  readonly db: Database;
}

/** No lease runs out by itself. */
const WORKER = { workerId: "a worker", leaseMs: 600_000 };

/** Does a step of the model to a ledger; what it was told. */
export async function takeStep(
  step: Step,
  { ledger, db }: LedgerProcess,
  bench: LedgerBench,
): Promise<Answer> {
  const { id, organizationId, attempt, regions } = step;
  switch (step.do) {
    case "request":
      return request(step, { ledger, db });
    case "limit":
      await giveSlots(bench, organizationId, step.limit);
      return null;
    case "claim":
      return handOf(await ledger.claim(id, WORKER.workerId, WORKER.leaseMs, regions));
    case "expire":
      await bench.expireLease(id);
      return null;
    case "cancel":
      return db.transaction(async (tx) => {
        const held = await holdOperation(tx, id, { organizationId, projects: null });
        return held === null ? null : { status: (await requestCancel(tx, held)).status };
      });
    case "hand over":
      await ledger.handOver(id, attempt, step.paused ? WORKER.leaseMs : 0);
      return null;
    case "renew":
      return unlessLost(ledger.renew(id, attempt, WORKER.leaseMs));
    case "progress":
      return unlessLost(ledger.recordProgress(id, attempt, { percent: 1, message: "" }).then(landed));
    case "steps":
      return unlessLost(ledger.recordSteps(id, attempt, []).then(landed));
    case "fenced":
      return unlessLost(ledger.fenced(id, attempt, async () => {}).then(landed));
    case "finish": {
      // In both ways: with something else to write, and without.
      const settle = step.ending === "succeeded" ? undefined : async () => {};
      const taker = step.hasTaker ? { ...WORKER, regions } : null;
      const finished = ledger.finish(id, attempt, outcomeOf(step.ending), settle, taker);
      return unlessLost(finished.then(({ wasFull, next }) => ({ wasFull, next: handOf(next) })));
    }
  }
}

async function request(
  { id, organizationId, resources, type, region }: Step,
  { ledger, db }: LedgerProcess,
): Promise<Answer> {
  const locks = resources.map((resource) => ({ type: "thing", id: resource }));
  const wished = { id, organizationId, operationType: type, ...(region !== null && { region }) };
  try {
    if (locks.length === 0) await ledger.accept(lockless(wished));
    else await db.transaction((tx) => ledger.request(tx, wish({ ...wished, locks })));
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
    `SELECT id, organization_id AS "organizationId", operation_type AS type, region, status, attempt,
       CASE WHEN leased_by IS NULL THEN 'none'
         WHEN leased_by = '' THEN CASE WHEN lease_expires_at < clock_timestamp() THEN 'rested' ELSE 'paused' END
         WHEN lease_expires_at < clock_timestamp() THEN 'over' ELSE 'held' END AS lease,
       ARRAY(SELECT slot FROM operation_slots WHERE operation_id = id ORDER BY 1) AS slots,
       ARRAY(SELECT resource_id::text FROM operation_locks WHERE operation_id = id ORDER BY 1) AS locks
     FROM operations ORDER BY id`,
  );
}

/** How many slots each organization has been given. */
export async function slotsMade(bench: LedgerBench): Promise<ReadonlyMap<string, number>> {
  const slots = await bench.database.query<{ id: string; made: number }>(
    "SELECT organization_id AS id, count(*)::int AS made FROM operation_slots GROUP BY 1",
  );
  return new Map(slots.map(({ id, made }) => [id, made]));
}
