import type { Logger } from "../platform/logger.js";
import type { Sql, Statement } from "../platform/sql.js";
import type { ProjectAccess } from "./principal.js";
import { createRecordCache, type RecordCache } from "./record-cache.js";
import { scopesOfRole } from "./roles.js";
import type { Scope } from "./scopes.js";

/** What the database says of a person at one moment: what tokens of the password grant are judged by. */
export interface UserRecord {
  readonly id: string;
  readonly organizationId: string;
  readonly username: string;
  readonly scopes: ReadonlySet<Scope>;
  readonly projects: ProjectAccess;
  /** Bumped by every narrowing and every change of the password; tokens carry the one that they were issued under. */
  readonly generation: number;
  /** The person, or the whole organization. */
  readonly disabled: boolean;
}

/** People whose tokens are in use, by their id. */
export type UserRecords = RecordCache<UserRecord>;

interface UserRow {
  readonly id: string;
  readonly organization_id: string;
  readonly username: string;
  readonly role: string;
  readonly all_projects: boolean;
  readonly generation: number;
  readonly disabled: boolean;
  readonly projects: string[];
}

const FIND: Statement = {
  name: "auth_find_users",
  text: `SELECT u.id, u.organization_id, u.username, u.role, u.all_projects, u.generation,
           u.disabled_at IS NOT NULL OR o.disabled_at IS NOT NULL AS disabled,
           ARRAY(SELECT p.project_id::text FROM user_projects p WHERE p.user_id = u.id ORDER BY 1) AS projects
         FROM users u JOIN organizations o ON o.id = u.organization_id
         WHERE u.id = ANY ($1::uuid[])`,
};

/** Records that are read from the database and refreshed until `close`; ids must be UUIDs. */
export function createUserRecords(sql: Sql, logger: Logger): UserRecords {
  return createRecordCache<UserRow, UserRecord>({
    logger,
    read: (ids) => sql.rows<UserRow>(FIND, [ids]),
    idOf: (row) => row.id,
    toRecord: (row) => ({
      id: row.id,
      organizationId: row.organization_id,
      username: row.username,
      scopes: scopesOfRole(row.role),
      projects: row.all_projects ? "all" : new Set(row.projects),
      generation: row.generation,
      disabled: row.disabled,
    }),
  });
}
