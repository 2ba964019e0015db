import { type Scope, TOPICS, type Topic } from "../../auth/scopes.js";
import { invalid } from "../../platform/errors.js";

/** What an API key may do with one topic. */
export interface Permission {
  readonly topic: Topic;
  readonly read: boolean;
  readonly write: boolean;
}

/** What a caller says of permissions; what is left out stays as it is. */
export interface PermissionChanges {
  readonly permissionAllRead?: boolean | undefined;
  readonly permissionAllWrite?: boolean | undefined;
  readonly permissions?:
    | readonly { readonly topic: string; readonly read?: boolean; readonly write?: boolean }[]
    | undefined;
}

/** Permissions in the words of the topics API. */
export interface PermissionView {
  readonly permissionAllRead: boolean;
  readonly permissionAllWrite: boolean;
  /** Every topic. */
  readonly permissions: readonly Permission[];
}

export function permissionsOf(scopes: ReadonlySet<Scope>): PermissionView {
  const permissions = TOPICS.map((topic) => ({
    topic,
    read: scopes.has(`${topic}:read`),
    write: scopes.has(`${topic}:write`),
  }));
  return {
    permissionAllRead: permissions.every(({ read }) => read),
    permissionAllWrite: permissions.every(({ write }) => write),
    permissions,
  };
}

/**
 * The scopes that permissions come to. `permissionAllRead: true` is every topic, whatever `permissions` says;
 * `false` takes the reading of all back, so that only what `permissions` names is left; the same for writing.
 */
export function applyPermissions(current: ReadonlySet<Scope>, changes: PermissionChanges): Set<Scope> {
  const { permissions = [] } = changes;
  const known: ReadonlySet<string> = new Set(TOPICS);
  const errors = permissions.flatMap(({ topic }, index) =>
    known.has(topic) ? [] : [{ path: `/permissions/${index}/topic`, message: `"${topic}" is no topic` }],
  );
  if (errors.length > 0) throw invalid(errors.map(({ message }) => message).join("; "), errors);
  return new Set<Scope>([
    ...applyMode(current, "read", changes.permissionAllRead, permissions),
    ...applyMode(current, "write", changes.permissionAllWrite, permissions),
  ]);
}

function applyMode(
  current: ReadonlySet<Scope>,
  mode: "read" | "write",
  all: boolean | undefined,
  permissions: NonNullable<PermissionChanges["permissions"]>,
): Scope[] {
  const every = TOPICS.map((topic): Scope => `${topic}:${mode}`);
  if (all === true) return every;
  const hadAll = every.every((scope) => current.has(scope));
  const kept = new Set<Scope>(all === false && hadAll ? [] : every.filter((scope) => current.has(scope)));
  for (const permission of permissions) {
    const scope = `${permission.topic}:${mode}` as Scope;
    if (permission[mode] === true) kept.add(scope);
    else if (permission[mode] === false) kept.delete(scope);
  }
  return [...kept];
}
