import type { Identity } from "./principal.js";
import { type Scope, TENANT_SCOPES, TOPICS, type Topic, type TopicScope } from "./scopes.js";

/** What a person is in an organization, the most powerful first. */
export const ROLES = ["owner", "admin", "operator", "viewer"] as const;

export type Role = (typeof ROLES)[number];

/** Topics that show who gets in and by what: not for everybody who may look. */
const ACCESS_TOPICS: ReadonlySet<Topic> = new Set(["client", "apiKey", "user", "auditEvent"]);

const OPERATED: readonly Topic[] = ["deployment", "operation", "snapshot"];
const WATCHED: readonly Topic[] = ["catalog", "status", "run", "job", "project"];

const read = (topic: Topic): TopicScope => `${topic}:read`;
const write = (topic: Topic): TopicScope => `${topic}:write`;

/**
 * What each role may do (DESIGN.md section 5), in the projects that its user reaches: the one table. None includes a
 * `platform:` scope: organizations and the installation are looked after by API clients.
 */
export const ROLE_SCOPES: Readonly<Record<Role, ReadonlySet<Scope>>> = {
  owner: new Set<Scope>([...TENANT_SCOPES, "production:destructive"]),
  admin: new Set<Scope>(TENANT_SCOPES.filter((scope) => scope !== "organization:write")),
  operator: new Set<Scope>([...OPERATED.map(write), ...OPERATED.map(read), ...WATCHED.map(read)]),
  viewer: new Set<Scope>(TOPICS.filter((topic) => !ACCESS_TOPICS.has(topic)).map(read)),
};

export function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text);
}

/** What a stored role may do; one that is not known may do nothing. */
export function scopesOfRole(role: string): ReadonlySet<Scope> {
  return isRole(role) ? ROLE_SCOPES[role] : new Set();
}

/** Whether somebody may do all that an administrator of the whole organization may, whatever the kind of principal. */
export function isAdministrator({ scopes, projects }: Identity): boolean {
  return projects === "all" && [...ROLE_SCOPES.admin].every((scope) => scopes.has(scope));
}
