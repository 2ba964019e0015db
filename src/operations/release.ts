import { type Sql, toJsonb } from "../platform/sql.js";
import type { Claim } from "./claim.js";
import { CLAIMED_COLUMNS } from "./columns.js";
import { LINE, WAITING } from "./lines.js";
import type { ClaimedOperation } from "./operation.js";
import { limitOf, UNMEASURED } from "./slots.js";

/** A worker that goes on with another operation when one has ended. */
export type Taker = Omit<Claim, "id">;

/** What an end has left. */
export interface Released {
  /** Another operation of its organization may have waited for this end. */
  readonly wasFull: boolean;
  /** The operation that got its slot, claimed for the taker. */
  readonly next: ClaimedOperation | null;
}

/** A taker as columns of a wish. */
export const TAKER = "taker text, taker_lease_ms int, taker_regions jsonb";

export function takerOf(taker: Taker | null) {
  return {
    taker: taker?.workerId ?? null,
    taker_lease_ms: taker?.leaseMs ?? null,
    taker_regions: taker?.regions ?? null,
  };
}

/** What the part before `RELEASED` says of each operation that has ended, besides its number `nr` and its taker. */
export const ENDED_COLUMNS =
  "id AS ended_id, organization_id AS ended_organization, coalesce(region, '') AS ended_region";

/**
 * Parts of a statement, behind one that says which operations have `ended`: frees the locks that they held, and their
 * slots, or passes those on. A slot goes to the first of the line where a taker is there for it and nobody else waits,
 * neither another organization nor another region: between those the dispatcher decides. `$2` is the number of slots
 * of organizations of whom nothing was said. Of a slot that was freed it says whether there was none left; it sees
 * what was before, the slots taken.
 */
export const RELEASED = `unlocked AS (DELETE FROM operation_locks USING ended WHERE operation_id = ended_id),
         occupied AS (
           SELECT ended.*, ended_slot FROM ended, LATERAL (
             SELECT slot AS ended_slot FROM operation_slots
             WHERE organization_id = ended_organization AND operation_id = ended_id FOR UPDATE) AS its),
         first AS (
           SELECT organization_id AS line_organization, coalesce(region, '') AS line_region
           FROM operations WHERE ${WAITING} AND EXISTS (SELECT FROM occupied WHERE taker IS NOT NULL)
           ORDER BY ${LINE} LIMIT 1),
         alone AS (
           SELECT * FROM first WHERE NOT EXISTS (
             SELECT FROM operations WHERE ${WAITING} AND (${LINE}) > (line_organization, line_region))),
         offered AS (
           SELECT nr AS offered_nr, row_number() OVER (ORDER BY nr) AS place
           FROM occupied JOIN alone ON ended_organization = line_organization AND ended_region = line_region
           WHERE taker IS NOT NULL AND (line_region = '' OR taker_regions ? line_region)
             AND ended_slot <= ${limitOf("line_organization", "$2")}),
         front AS (
           SELECT front_id, row_number() OVER () AS place FROM (
             SELECT front_id FROM alone, LATERAL (
               SELECT id AS front_id FROM operations
               WHERE ${WAITING} AND status = 'pending'
                 AND organization_id = line_organization AND coalesce(region, '') = line_region
               ORDER BY priority, id LIMIT (SELECT count(*) FROM offered) FOR UPDATE SKIP LOCKED) AS it) AS found),
         given AS (
           SELECT occupied.*, front_id
           FROM occupied LEFT JOIN (offered JOIN front USING (place)) ON nr = offered_nr),
         freed AS (
           UPDATE operation_slots SET operation_id = front_id FROM given
           WHERE organization_id = ended_organization AND slot = ended_slot
           RETURNING nr AS freed_nr, ended_organization AS freed_organization, front_id AS heir),
         begun AS (
           UPDATE operations SET status = 'running', attempt = attempt + 1, revision = revision + 1, leased_by = taker,
             progress = ${UNMEASURED},
             started_at = coalesce(started_at, clock_timestamp()),
             lease_expires_at = clock_timestamp() + taker_lease_ms * interval '1 millisecond'
           FROM given WHERE id = front_id RETURNING nr AS begun_nr, ${CLAIMED_COLUMNS}),
         released AS (
           SELECT freed_nr, heir IS NULL AND NOT EXISTS (
             SELECT FROM operation_slots WHERE organization_id = freed_organization AND operation_id IS NULL) AS was_full
           FROM freed)`;

export const RELEASED_COLUMNS = `coalesce(was_full, false) AS "wasFull", begun.*`;
export const WITH_RELEASED = "LEFT JOIN released ON freed_nr = nr LEFT JOIN begun ON begun_nr = nr";

/** A row of these columns. */
export type ReleasedRow = { readonly wasFull: boolean; readonly begun_nr: number | null } & ClaimedOperation;

export function releasedOf({ wasFull, begun_nr, ...next }: ReleasedRow): Released {
  return { wasFull, next: begun_nr === null ? null : next };
}

const RELEASE = {
  name: "operation_release",
  text: `WITH ended AS (
           SELECT wish.*, ${ENDED_COLUMNS}
           FROM jsonb_to_recordset($1::jsonb) AS wish (nr int, asked_id uuid, ${TAKER}) JOIN operations ON id = asked_id),
         ${RELEASED}
         SELECT ${RELEASED_COLUMNS} FROM ended ${WITH_RELEASED}`,
};

/** Frees the locks and the slot of an operation that ends in this transaction, or passes the slot on. */
export async function release(
  tx: Sql,
  operationId: string,
  taker: Taker | null,
  defaultLimit: number,
): Promise<Released> {
  const wish = { nr: 0, asked_id: operationId, ...takerOf(taker) };
  const [row] = await tx.rows<ReleasedRow>(RELEASE, [toJsonb([wish]), defaultLimit]);
  return row === undefined ? { wasFull: false, next: null } : releasedOf(row);
}
