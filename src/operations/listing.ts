import type { Statement } from "../platform/sql.js";
import { LISTED_COLUMNS } from "./columns.js";
import type { OperationStatus } from "./operation.js";

/** Who may see operations: an organization, and null or the projects within it. */
export interface Visibility {
  readonly organizationId: string;
  readonly projects: readonly string[] | null;
}

/** Which operations are listed; null: whichever. */
export interface OperationFilter {
  readonly status: OperationStatus | null;
  readonly operationType: string | null;
  readonly resourceId: string | null;
  readonly projectId: string | null;
  /** Accepted then or later. */
  readonly since: Date | null;
}

/** Those that belong to one thing, as the domain knows them. Needs an index that ends with `id`. */
export interface Belonging {
  /** Tells its statements from those of other kinds. */
  readonly name: string;
  /** A condition on the columns of operations; `parameter` stands for the value. */
  where(parameter: string): string;
  readonly value: string;
}

export interface ListRequest {
  readonly seenBy: Visibility;
  readonly filter: OperationFilter;
  readonly limit: number;
  /** Only older ones than this; null: from the newest. */
  readonly before: string | null;
  readonly of?: Belonging;
}

/** By how much an id may differ from when its operation was accepted: an earlier version had that from the database's clock. */
const CLOCKS_DIFFER = "interval '1 hour'";

/** What every UUIDv7 of a moment or later is not below (RFC 9562 section 5.7). */
const firstIdOf = (moment: string): string =>
  `(lpad(to_hex(greatest(0, floor(extract(epoch FROM ${moment}) * 1000))::bigint), 12, '0') || repeat('0', 20))::uuid`;

/** Ids tell the time roughly, and have an index: what is older is not looked at. */
const acceptedSince = (p: string): string =>
  `created_at >= ${p}::timestamptz AND id >= ${firstIdOf(`(${p}::timestamptz - ${CLOCKS_DIFFER})`)}`;

type Condition = readonly [where: (parameter: string) => string, value: unknown];

/**
 * The statement of a list, newest first. It has the conditions that are asked for and no others: PostgreSQL plans a
 * prepared statement once for all values, and would take an index for none of those that may be left out.
 */
export function listing({ seenBy, filter, limit, before, of }: ListRequest): [Statement, unknown[]] {
  const conditions: readonly Condition[] = [
    [(p) => `status = ${p}::operation_status`, filter.status],
    [(p) => `operation_type = ${p}`, filter.operationType],
    [(p) => `resource_id = ${p}::uuid`, filter.resourceId],
    [(p) => `project_id = ${p}::uuid`, filter.projectId],
    [acceptedSince, filter.since],
    [(p) => `id < ${p}::uuid`, before],
  ];
  const values: unknown[] = [seenBy.organizationId, limit];
  const texts = ["organization_id = $1"];
  let name = `operation_list_${of?.name ?? "all"}_`;
  for (const [where, value] of conditions) {
    name += value === null ? "0" : "1";
    if (value !== null) texts.push(where(`$${values.push(value)}`));
  }
  if (of !== undefined) texts.push(of.where(`$${values.push(of.value)}`));
  const where = texts.join(" AND ");
  const { projects } = seenBy;
  if (projects === null) {
    return [
      { name, text: `SELECT ${LISTED_COLUMNS} FROM operations WHERE ${where} ORDER BY id DESC LIMIT $2` },
      values,
    ];
  }
  // The newest of each project, and of those the newest: what other projects have in between costs nothing.
  const text = `SELECT ${LISTED_COLUMNS} FROM operations JOIN (
      SELECT found_id FROM unnest($${values.push(projects)}::uuid[]) AS reached (reached_id), LATERAL (
        SELECT id AS found_id FROM operations WHERE project_id = reached_id AND ${where} ORDER BY id DESC LIMIT $2
      ) AS found ORDER BY found_id DESC LIMIT $2) AS newest ON id = found_id ORDER BY id DESC`;
  return [{ name: `${name}_of_projects`, text }, values];
}
