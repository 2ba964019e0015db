import type { Scope } from "./scopes.js";

/** Which projects a principal reaches. */
export type ProjectAccess = "all" | ReadonlySet<string>;

/** Whoever a credential stands for. */
export interface Identity {
  readonly kind: "client" | "key" | "user" | "system";
  readonly id: string;
  /** What the people see: a client's name, a user name. */
  readonly name: string;
  readonly organizationId: string;
  readonly projects: ProjectAccess;
  readonly scopes: ReadonlySet<Scope>;
}

/** From where a request came. */
export interface Origin {
  readonly address: string | null;
  readonly requestId: string | null;
  /** Whose work is continued, as the header of that name says it; null or absent: nobody traces it. */
  readonly traceparent?: string | null;
}

/** A taking of an Idempotency-Key, by the key's hash and its own name. */
export interface HeldKey {
  readonly id: Uint8Array;
  readonly claim: string;
}

/** Whoever makes a request: an identity, and where it came from. */
export interface Principal extends Identity {
  readonly origin: Origin;
  /** What the request has to hold still for its changes to be made; absent: nothing, or the change takes it itself. */
  readonly held?: HeldKey;
}

/** The projects as SQL sees them: null for all, else the ids. */
export function projectFilter(principal: Principal): string[] | null {
  return principal.projects === "all" ? null : [...principal.projects];
}
