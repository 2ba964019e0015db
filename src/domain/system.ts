import type { Principal } from "../auth/principal.js";

/** Gatehouse itself, at work for a tenant. */
export function system(name: "scheduler" | "supervisor" | "webhooks", organizationId: string): Principal {
  return {
    kind: "system",
    id: name,
    name,
    organizationId,
    projects: "all",
    scopes: new Set(),
    origin: { address: null, requestId: null },
  };
}
