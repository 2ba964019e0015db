import { URGENT } from "./catalog.js";
import { queuePriorityOf, rankOf, WAITING } from "./lines.js";
import { NEW_COLUMNS, NEW_VALUES } from "./new-operation.js";
import { limitOf } from "./slots.js";

/** What a statement that accepts operations says of each that it has written. */
export interface Inserted {
  readonly id: string;
  /** Marked as sent, to be sent under this priority once it is committed; null: the dispatcher looks whose turn it is. */
  readonly sendAs: number | null;
}

/**
 * The end of a statement, behind one that has parts: writes the operations of `source`, rows with the columns of
 * `NEW_ROW`, as `wish`. Where nobody waits in its line and its organization has a free slot, an operation is marked as sent
 * as it is written: a look at all lines would find nothing before it there. What somebody waits for in a request is left to
 * the look, which counts those at once; so is everything where nobody sends. The line's front is found by the index (ORDER BY).
 * @param limit the parameter with the slots of organizations of whom nothing was said
 * @param sends the parameter that says whether what is marked will be sent
 */
export const insertionOf = (source: string, limit: string, sends: string): string => `
         entering AS MATERIALIZED (
           SELECT wish.*, row_number() OVER (PARTITION BY organization_id, priority < ${URGENT} ORDER BY priority, id) AS place
           FROM ${source}),
         lines AS (
           SELECT DISTINCT organization_id AS line_organization, coalesce(region, '') AS line_region
           FROM entering WHERE ${sends}::boolean AND priority >= ${URGENT}),
         open AS MATERIALIZED (
           SELECT lines.*, busy, ${limitOf("line_organization", limit)} - busy AS free
           FROM lines, LATERAL (
             SELECT count(*)::int AS busy FROM operation_slots
             WHERE organization_id = line_organization AND operation_id IS NOT NULL) AS taken
           WHERE (SELECT id FROM operations
                  WHERE ${WAITING} AND organization_id = line_organization AND coalesce(region, '') = line_region
                  ORDER BY priority, id LIMIT 1) IS NULL),
         judged AS MATERIALIZED (
           SELECT entering.*, CASE WHEN priority >= ${URGENT} AND place <= free
                              THEN ${queuePriorityOf(rankOf("busy", "place", "priority"))} END AS send_as
           FROM entering LEFT JOIN open ON line_organization = organization_id AND line_region = coalesce(region, '')),
         inserted AS (
           INSERT INTO operations (${NEW_COLUMNS}, dispatched_at)
           SELECT ${NEW_VALUES}, CASE WHEN send_as IS NOT NULL THEN clock_timestamp() END FROM judged)
         SELECT id, send_as AS "sendAs" FROM judged`;
