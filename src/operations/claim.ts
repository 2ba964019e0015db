import type { Database } from "../platform/sql.js";
import { URGENT } from "./catalog.js";
import { CLAIMED_COLUMNS } from "./columns.js";
import type { ClaimedOperation } from "./operation.js";
import { addSlots, limitOf } from "./slots.js";

/**
 * Where an operation can be done: null is anywhere. One that is cancelled before anybody began has nothing to undo
 * in its region, so it ends even where no worker serves that.
 */
export const WHERE_TO = "(CASE WHEN status = 'cancelling' AND attempt = 0 THEN NULL ELSE region END)";

/** What needs none of its organization's slots: somebody waits for it in a request, or it only has to end. */
const WITHOUT_SLOT = `(priority < ${URGENT} OR status = 'cancelling')`;

/**
 * A compare-and-set. The operation's row is locked first, so of two claims one waits, and finds it taken. One that
 * was claimed before keeps its slot. Of several free slots each claim takes another, those that are being taken left
 * out: none waits, and there are never more at work than slots. Without a slot only the mark that it was sent is
 * taken away.
 */
const CLAIM = {
  name: "operation_claim",
  text: `WITH wanted AS (
           SELECT id AS wanted_id, organization_id AS wanted_organization, ${WITHOUT_SLOT} AS needs_none
           FROM operations
           WHERE id = $1 AND status IN ('pending', 'running', 'cancelling')
             AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
             AND (${WHERE_TO} IS NULL OR region = ANY ($4::text[]))
           FOR UPDATE),
         held AS (
           SELECT slot FROM wanted JOIN operation_slots ON organization_id = wanted_organization AND operation_id = wanted_id
           FOR UPDATE OF operation_slots),
         free AS (
           SELECT organization_id AS free_organization, slot AS free_slot
           FROM wanted JOIN operation_slots ON organization_id = wanted_organization
           WHERE NOT needs_none AND operation_id IS NULL AND NOT EXISTS (SELECT FROM held)
             AND slot <= ${limitOf("wanted_organization", "$5")}
           ORDER BY slot LIMIT 1 FOR UPDATE OF operation_slots SKIP LOCKED),
         taken AS (
           UPDATE operation_slots SET operation_id = $1 FROM free
           WHERE organization_id = free_organization AND slot = free_slot RETURNING slot),
         judged AS (
           SELECT wanted_id, needs_none OR EXISTS (SELECT FROM held) OR EXISTS (SELECT FROM taken) AS admitted FROM wanted)
         UPDATE operations SET
           status = CASE WHEN admitted AND status = 'pending' THEN 'running'::operation_status ELSE status END,
           attempt = CASE WHEN admitted THEN attempt + 1 ELSE attempt END,
           revision = CASE WHEN admitted THEN revision + 1 ELSE revision END,
           leased_by = CASE WHEN admitted THEN $2 END,
           started_at = CASE WHEN admitted THEN coalesce(started_at, clock_timestamp()) ELSE started_at END,
           lease_expires_at = CASE WHEN admitted THEN clock_timestamp() + $3 * interval '1 millisecond' END,
           dispatched_at = CASE WHEN admitted THEN dispatched_at END
         FROM judged WHERE id = wanted_id
         RETURNING admitted, ${CLAIMED_COLUMNS}`,
};

type Judged = ClaimedOperation & { readonly admitted: boolean };

/** A worker's wish to work at an operation. */
export interface Claim {
  readonly id: string;
  readonly workerId: string;
  readonly leaseMs: number;
  /** That the worker serves. */
  readonly regions: readonly string[];
}

/** Takes an operation that nobody works at; null where that cannot be, or its organization has no slot left. */
export async function claim(
  db: Database,
  { id, workerId, leaseMs, regions }: Claim,
  defaultLimit: number,
): Promise<ClaimedOperation | null> {
  const values = [id, workerId, leaseMs, regions, defaultLimit];
  let [found] = await db.rows<Judged>(CLAIM, values);
  if (found === undefined) return null;
  // The first of its organization, or the first since that was given more slots.
  if (!found.admitted && (await addSlots(db, found.organizationId, defaultLimit)) > 0) {
    [found] = await db.rows<Judged>(CLAIM, values);
  }
  if (found === undefined || !found.admitted) return null;
  const { admitted: _, ...operation } = found;
  return operation;
}
