import type { Principal, ProjectAccess } from "../../auth/principal.js";
import { expandScopes, isScope, nameScopes, type Scope, SERVICE } from "../../auth/scopes.js";
import { AppError, invalid } from "../../platform/errors.js";
import type { PrismaTransaction } from "../../platform/prisma.js";
import { resolveProjects } from "../projects/reference.js";

/** What a credential opens. */
export interface Grant {
  readonly scopes: ReadonlySet<Scope>;
  readonly projects: ProjectAccess;
}

/** Which projects a credential is to reach, as a caller says it. */
export interface ProjectChoice {
  readonly allProjects?: boolean | undefined;
  /** Ids, slugs or numbers. */
  readonly projects?: readonly string[] | undefined;
}

/**
 * Nobody hands on, or lays hands on, more than they have themselves: throws where a grant goes beyond the
 * principal's own. Asked of what a change leads to **and** of what it finds: who could get a secret for a more
 * powerful client, or enable it, would have its power.
 */
export function requireGrant(principal: Principal, grant: Grant, what: string): void {
  const beyond = new Set([...grant.scopes].filter((scope) => !principal.scopes.has(scope)));
  if (beyond.size > 0) {
    const scope = nameScopes(beyond).join(" ");
    throw new AppError("insufficient_scope", `${what} goes beyond your own scopes by: ${scope}`, {
      details: { scope },
    });
  }
  if (!reaches(principal.projects, grant.projects)) {
    throw new AppError("forbidden", `${what} reaches projects that you do not reach`);
  }
}

/** Throws where the principal is limited to some projects: what is to be changed belongs to all of them. */
export function requireAllProjects(principal: Principal, what: string): void {
  if (principal.projects !== "all") {
    throw new AppError("forbidden", `${what} needs access to all projects of the organization`);
  }
}

/** Whether all projects of `inner` are projects of `outer`. */
export function reaches(outer: ProjectAccess, inner: ProjectAccess): boolean {
  if (outer === "all") return true;
  return inner !== "all" && [...inner].every((id) => outer.has(id));
}

/** Whether all scopes of `inner` are scopes of `outer`. */
export function covers(outer: ReadonlySet<Scope>, inner: ReadonlySet<Scope>): boolean {
  return [...inner].every((scope) => outer.has(scope));
}

/** Whether one grant opens all that another does: then nothing was taken away. */
export function includes(outer: Grant, inner: Grant): boolean {
  return covers(outer.scopes, inner.scopes) && reaches(outer.projects, inner.projects);
}

/** The scopes that names stand for. Throws an invalid request that shows each name that is none. */
export function parseScopes(names: readonly string[]): Set<Scope> {
  const errors = names.flatMap((name, index) =>
    name === SERVICE || isScope(name)
      ? []
      : [{ path: `/scopes/${index}`, message: `"${name}" is no scope; they are topic:read, topic:write` }],
  );
  if (errors.length > 0) throw invalid(errors.map(({ message }) => message).join("; "), errors);
  return expandScopes(names);
}

/**
 * The projects that a choice means, never beyond the principal's own. Nothing chosen: all that the principal
 * reaches itself. A project that it does not reach is refused in the same words as one that does not exist.
 */
export async function chooseProjects(
  tx: PrismaTransaction,
  principal: Principal,
  { allProjects, projects }: ProjectChoice,
): Promise<ProjectAccess> {
  if (allProjects === true) {
    if (projects !== undefined && projects.length > 0) throw either("must be left out with allProjects");
    requireAllProjects(principal, "allProjects");
    return "all";
  }
  if (projects === undefined) {
    if (allProjects === false) throw either("is required where allProjects is false");
    return principal.projects;
  }
  const found = await resolveProjects(tx, principal, projects);
  const errors = found.flatMap((project, index) =>
    project === null
      ? [{ path: `/projects/${index}`, message: `"${projects[index]}" is no project that you reach` }]
      : [],
  );
  if (errors.length > 0) {
    const code = principal.projects === "all" ? "invalid_request" : "forbidden";
    throw new AppError(code, errors.map(({ message }) => message).join("; "), { errors });
  }
  return new Set(found.flatMap((project) => (project === null ? [] : [project.id])));
}

function either(message: string): AppError {
  return invalid(`/projects ${message}`, [{ path: "/projects", message }]);
}

/** The rows of clients, keys or users that a principal may see: none that reaches further than itself. */
export function visibleHolders({ organizationId, projects }: Principal) {
  if (projects === "all") return { organizationId };
  return { organizationId, allProjects: false, projects: { every: { projectId: { in: [...projects] } } } };
}

/** The projects of a client, key or user as its row says it. */
export function projectsOf(row: {
  readonly allProjects: boolean;
  readonly projects: readonly { readonly projectId: string }[];
}): ProjectAccess {
  return row.allProjects ? "all" : new Set(row.projects.map(({ projectId }) => projectId));
}

/** Rows of the table that links to projects. */
export function projectLinks(access: ProjectAccess): { projectId: string }[] {
  return access === "all" ? [] : [...access].map((projectId) => ({ projectId }));
}
