import type { Origin } from "../../auth/principal.js";
import { newId } from "../../platform/ids.js";
import type { AuditEntry, AuditRow } from "../audit/audit.js";

/** From where somebody who may not be known yet makes a request. */
export interface Visit extends Origin {
  readonly userAgent: string | null;
  /** The caller sits at this machine: by the connection itself, and by nothing that was passed on. */
  readonly local: boolean;
  /** What its session cookie holds; null: it has none. */
  readonly sessionSecret: string | null;
}

/** Whose matter it is that a stranger tried something, as far as that is known. */
export interface Claim {
  readonly organizationId: string;
  /** The user that it claims to be. What was typed is not kept where there is no such user: it may be a password. */
  readonly username: string | null;
}

/** What somebody who is not known did, or failed to do. */
export function anonymousAuditRow(origin: Origin, claim: Claim | null, entry: AuditEntry): AuditRow {
  return {
    id: newId(),
    organizationId: claim?.organizationId ?? null,
    projectId: null,
    actorKind: "anonymous",
    actorId: null,
    actorName: claim?.username ?? null,
    action: entry.action,
    targetType: entry.target?.type ?? null,
    targetId: entry.target?.id ?? null,
    outcome: entry.outcome ?? "failure",
    address: origin.address,
    requestId: origin.requestId,
    details: entry.details ?? {},
  };
}
