/** In a line: nobody works at it, nobody is expected to. */
export const WAITING = "status IN ('pending', 'running') AND leased_by IS NULL";

/** Who waits stands in lines, one per organization and region, each in the order of priorities and ids. */
export const LINE = "organization_id, coalesce(region, '')";
