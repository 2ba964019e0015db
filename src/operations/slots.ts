import type { Sql } from "../platform/sql.js";

/** Operations that an organization has running at once where nothing else was said. */
export const DEFAULT_CONCURRENCY = 50;

/** The attempt's own row, as long as it was not given back, no other attempt has taken over and it has not ended. */
export const mineOf = (id: string, attempt: string): string =>
  `id = ${id} AND attempt = ${attempt} AND status IN ('running', 'cancelling') AND leased_by <> ''`;
export const MINE = mineOf("$1", "$2");

/** How many slots an organization has; `$limit` is what those have of whom nothing was said. */
export function limitOf(organizationId: string, defaultLimit: string): string {
  return `coalesce((SELECT concurrency FROM organizations WHERE id = ${organizationId}), ${defaultLimit}::int)`;
}

/** An organization's slots are rows, so that two claims can take two of them without waiting for each other. */
const ADD = {
  name: "operation_slots_add",
  text: `INSERT INTO operation_slots (organization_id, slot)
         SELECT $1::uuid, generate_series(1, ${limitOf("$1::uuid", "$2")}) ON CONFLICT DO NOTHING`,
};

/** Makes the slots that an organization has not had yet; how many. */
export function addSlots(sql: Sql, organizationId: string, defaultLimit: number): Promise<number> {
  return sql.run(ADD, [organizationId, defaultLimit]);
}

/**
 * Parts of a statement, behind one that says which operations have `ended`: frees what they held, and says of each
 * whether its organization had no slot left: then another of its operations may begin now. Sees what was before, the
 * slots taken.
 */
export const RELEASED = `unlocked AS (DELETE FROM operation_locks USING ended WHERE operation_id = ended_id),
         occupied AS (
           SELECT ended_id AS freed_id, ended_organization AS freed_organization, slot AS freed_slot FROM ended, LATERAL (
             SELECT slot FROM operation_slots WHERE organization_id = ended_organization AND operation_id = ended_id
             FOR UPDATE) AS its),
         freed AS (
           UPDATE operation_slots SET operation_id = NULL FROM occupied
           WHERE organization_id = freed_organization AND slot = freed_slot RETURNING freed_id, freed_organization),
         released AS (
           SELECT freed_id, NOT EXISTS (
             SELECT FROM operation_slots WHERE organization_id = freed_organization AND operation_id IS NULL) AS was_full
           FROM freed)`;

const RELEASE = {
  name: "operation_release",
  text: `WITH ended AS (SELECT id AS ended_id, organization_id AS ended_organization FROM operations WHERE id = $1),
         ${RELEASED}
         SELECT was_full AS "wasFull" FROM released`,
};

/** Frees the locks and the slot of an operation; true where its organization had no other slot left. */
export async function release(tx: Sql, operationId: string): Promise<boolean> {
  const [row] = await tx.rows<{ wasFull: boolean }>(RELEASE, [operationId]);
  return row?.wasFull === true;
}

/**
 * At once: it waits like the others, without a slot, and is not sent until `resend` says so: the queue still holds
 * its id as being worked at here. After a pause: it keeps its slot, leased by nobody (`''`), and the sweep finds its
 * lease run out.
 */
export const HAND_OVER = {
  name: "operation_hand_over",
  text: `WITH given AS (
           UPDATE operations SET region = coalesce($4, region),
             leased_by = CASE WHEN $3 > 0 THEN '' END,
             dispatched_at = CASE WHEN $3 > 0 THEN NULL ELSE clock_timestamp() END,
             lease_expires_at = CASE WHEN $3 > 0 THEN clock_timestamp() + $3 * interval '1 millisecond' END
           WHERE ${MINE} RETURNING id AS given_id, organization_id AS given_organization)
         UPDATE operation_slots SET operation_id = NULL FROM given
         WHERE $3 = 0 AND organization_id = given_organization AND operation_id = given_id`,
};

/** Only what still waits. */
export const RESEND = {
  name: "operation_resend",
  text: "UPDATE operations SET dispatched_at = NULL WHERE id = ANY ($1) AND leased_by IS NULL",
};

/** What is looked at and what is freed is the same holder: a slot that was given on meanwhile stays taken. */
const FREE_LOST = `UPDATE operation_slots held SET operation_id = NULL
  FROM (SELECT organization_id, slot, operation_id FROM operation_slots s
        WHERE operation_id IS NOT NULL AND NOT EXISTS (
          SELECT FROM operations o WHERE o.id = s.operation_id AND o.status IN ('pending', 'running', 'cancelling'))
       ) AS lost
  WHERE held.organization_id = lost.organization_id AND held.slot = lost.slot
    AND held.operation_id = lost.operation_id`;

/** Frees slots of operations that are gone, as after a backup that was read back in parts; says how many. */
export function freeLostSlots(sql: Sql): Promise<number> {
  return sql.run(FREE_LOST);
}
