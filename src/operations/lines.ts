/** In a line: nobody works at it, nobody is expected to. */
export const WAITING = "status IN ('pending', 'running') AND leased_by IS NULL";
/** Not in a line, and few, however many wait: claimed, or to be ended. */
export const ATTENDED = "(status = 'cancelling' OR status = 'running' AND leased_by IS NOT NULL)";

/** Who waits stands in lines, one per organization and region, each in the order of priorities and ids. */
export const LINE = "organization_id, coalesce(region, '')";
