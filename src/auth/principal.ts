import type { Scope } from "./scopes.js";

/** Which projects a principal reaches. */
export type ProjectAccess = "all" | ReadonlySet<string>;

/** Whoever was authenticated. */
export interface Principal {
  readonly kind: "client" | "key" | "user";
  readonly id: string;
  /** What the people see: a client's name, a user name. */
  readonly name: string;
  readonly organizationId: string;
  readonly projects: ProjectAccess;
  readonly scopes: ReadonlySet<Scope>;
}

/** The projects as SQL sees them: null for all, else the ids. */
export function projectFilter(principal: Principal): string[] | null {
  return principal.projects === "all" ? null : [...principal.projects];
}
