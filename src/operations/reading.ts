import { Batch } from "../platform/batch.js";
import type { Sql } from "../platform/sql.js";
import { COLUMNS } from "./columns.js";
import type { Visibility } from "./listing.js";
import type { Operation } from "./operation.js";

const READ = {
  name: "operations_read",
  text: `SELECT nr::int, ${COLUMNS}
         FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS asked (asked_id, asked_by, reach, nr)
         JOIN operations ON id = asked_id AND organization_id = asked_by
           AND (reach IS NULL OR project_id = ANY (reach::uuid[]))`,
};

/** An operation that somebody asks for. */
interface Wanted extends Visibility {
  readonly id: string;
}

/** Reads single operations, those that are asked for at once by one query. */
export class OperationReader {
  readonly #batch: Batch<Wanted, Operation | null>;

  constructor(sql: Sql) {
    this.#batch = new Batch((wanted) => readAll(sql, wanted));
  }

  /** One operation, where the caller may see it. */
  read(id: string, { organizationId, projects }: Visibility): Promise<Operation | null> {
    return this.#batch.ask({ id, organizationId, projects });
  }
}

/** Each where who asks for it may see it: that is part of the query. */
async function readAll(sql: Sql, wanted: readonly Wanted[]): Promise<(Operation | null)[]> {
  const found: (Operation | null)[] = wanted.map(() => null);
  const rows = await sql.rows<Operation & { readonly nr: number }>(READ, [
    wanted.map(({ id }) => id),
    wanted.map(({ organizationId }) => organizationId),
    wanted.map(({ projects }) => (projects === null ? null : `{${projects.join(",")}}`)),
  ]);
  for (const { nr, ...operation } of rows) found[nr - 1] = operation;
  return found;
}
