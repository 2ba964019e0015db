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

/** Makes the slots that an organization has not had yet: all are there then, whoever has made them. */
export async function addSlots(sql: Sql, organizationId: string, defaultLimit: number): Promise<void> {
  await sql.run(ADD, [organizationId, defaultLimit]);
}

/** An operation's progress without what an attempt has measured, once that attempt is over: nobody counts on from there. */
export const UNMEASURED = "progress - 'measured'";

/**
 * At once: it waits like the others, without a slot, and is not sent until `resend` says so: the queue still holds
 * its id as being worked at here. After a pause: it keeps its slot, leased by nobody (`''`), and the sweep finds its
 * lease run out.
 */
export const HAND_OVER = {
  name: "operation_hand_over",
  text: `WITH given AS (
           UPDATE operations SET region = coalesce($4, region), progress = ${UNMEASURED},
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
