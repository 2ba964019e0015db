import type { Identity, ProjectAccess } from "../../auth/principal.js";
import { scopesOfRole } from "../../auth/roles.js";
import type { Sql, Statement } from "../../platform/sql.js";

/** A session and its user as a row of `FIND_SESSIONS` says it. */
export interface SessionRow {
  /** HMAC of the secret, hex. */
  readonly hash: string;
  readonly id: string;
  readonly session_generation: number;
  readonly last_seen_at: Date;
  readonly expires_at: Date;
  readonly user_id: string;
  readonly username: string;
  readonly organization_id: string;
  readonly role: string;
  readonly generation: number;
  readonly all_projects: boolean;
  readonly disabled: boolean;
  readonly projects: string[];
}

/** What the database says of a session and its user at one moment. */
export interface SessionRecord {
  readonly id: string;
  readonly userId: string;
  /** Of the user now, and of the user at login: where they differ, the session is over. */
  readonly generation: number;
  readonly sessionGeneration: number;
  /** The user, or the whole organization. */
  readonly disabled: boolean;
  /** Milliseconds since 1970. */
  readonly lastSeenAt: number;
  readonly expiresAt: number;
  readonly identity: Identity;
}

/** Sessions by the hash of their secrets, with their users and these users' projects, in one go. */
export const FIND_SESSIONS: Statement = {
  name: "people_find_sessions",
  text: `SELECT encode(s.hash, 'hex') AS hash, s.id, s.generation AS session_generation, s.last_seen_at, s.expires_at,
       u.id AS user_id, u.username, u.organization_id, u.role, u.generation, u.all_projects,
       u.disabled_at IS NOT NULL OR o.disabled_at IS NOT NULL AS disabled,
       ARRAY(SELECT p.project_id::text FROM user_projects p
              WHERE p.user_id = u.id ORDER BY p.project_id) AS projects
  FROM sessions s
  JOIN users u ON u.id = s.user_id
  JOIN organizations o ON o.id = u.organization_id
 WHERE s.hash = ANY($1::bytea[])`,
};

/**
 * Reads the sessions that exist among those asked for.
 * @param hashes of their secrets, hex, as `Sessions.keyOf` makes them
 */
export async function readSessions(sql: Sql, hashes: readonly string[]): Promise<SessionRow[]> {
  if (hashes.length === 0) return [];
  return sql.rows<SessionRow>(FIND_SESSIONS, [hashes.map((hash) => Buffer.from(hash, "hex"))]);
}

export function toSessionRecord(row: SessionRow): SessionRecord {
  return {
    id: row.id,
    userId: row.user_id,
    generation: row.generation,
    sessionGeneration: row.session_generation,
    disabled: row.disabled,
    lastSeenAt: row.last_seen_at.getTime(),
    expiresAt: row.expires_at.getTime(),
    identity: {
      kind: "user",
      id: row.user_id,
      name: row.username,
      organizationId: row.organization_id,
      projects: projectsOf(row),
      scopes: scopesOfRole(row.role),
    },
  };
}

function projectsOf({ all_projects, projects }: SessionRow): ProjectAccess {
  return all_projects ? "all" : new Set(projects);
}

/** Where sessions are looked up: a `RecordCache` (auth/record-cache.ts), or the database itself. */
export interface SessionRecords {
  get(hash: string): SessionRecord | null | Promise<SessionRecord | null>;
  /** Makes the next look ask the database. */
  forget(hash: string): void;
}

/** Asks the database every time. */
export function uncachedSessionRecords(sql: Sql): SessionRecords {
  return {
    async get(hash) {
      const row = (await readSessions(sql, [hash]))[0];
      return row === undefined ? null : toSessionRecord(row);
    },
    forget: () => {},
  };
}
