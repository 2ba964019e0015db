/** What scopes speak of (contracts/topics-api.md). */
export const TOPICS = [
  "app",
  "source",
  "property",
  "schedule",
  "run",
  "record",
  "destination",
  "apiKey",
  "user",
  "project",
  "organization",
  "job",
  "deployment",
  "operation",
  "snapshot",
  "client",
  "webhook",
  "auditEvent",
  "catalog",
  "setting",
  "file",
  "resourceServer",
  "connector",
  "export",
  "status",
] as const;

export type Topic = (typeof TOPICS)[number];
export type TopicScope = `${Topic}:read` | `${Topic}:write`;
export type Scope = TopicScope | (typeof EXTRA_SCOPES)[number];

/** Every scope of a tenant: what the name `service` stands for. */
export const TENANT_SCOPES: readonly TopicScope[] = TOPICS.flatMap((topic): TopicScope[] => [
  `${topic}:read`,
  `${topic}:write`,
]);

/** Scopes that `service` does not include. */
export const EXTRA_SCOPES = ["production:destructive", "platform:admin", "platform:metrics"] as const;

export const ALL_SCOPES: readonly Scope[] = [...TENANT_SCOPES, ...EXTRA_SCOPES];

/** The name of the full tenant grant in token requests and answers. */
export const SERVICE = "service";

const KNOWN: ReadonlySet<string> = new Set(ALL_SCOPES);

export function isScope(text: string): text is Scope {
  return KNOWN.has(text);
}

/** The scopes that stored or requested names stand for: `service` becomes the tenant's, unknown ones go. */
export function expandScopes(names: Iterable<string>): Set<Scope> {
  const scopes = new Set<Scope>();
  for (const name of names) {
    if (name === SERVICE) for (const scope of TENANT_SCOPES) scopes.add(scope);
    else if (isScope(name)) scopes.add(name);
  }
  return scopes;
}

/** The shortest way to say a set: `service` first where the full tenant grant is in it. */
export function nameScopes(scopes: ReadonlySet<Scope>): string[] {
  const full = TENANT_SCOPES.every((scope) => scopes.has(scope));
  const rest = ALL_SCOPES.filter(
    (scope) => scopes.has(scope) && !(full && (TENANT_SCOPES as readonly string[]).includes(scope)),
  );
  return full ? [SERVICE, ...rest] : rest;
}
