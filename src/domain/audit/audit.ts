import type { Principal } from "../../auth/principal.js";
import { keyInFlight, STILL_HELD } from "../../operations/takings.js";
import { newId } from "../../platform/ids.js";
import type { PrismaTransaction } from "../../platform/prisma.js";
import type { Sql } from "../../platform/sql.js";

/** What was done, to what, with which outcome. Never holds a secret. */
export interface AuditEntry {
  /** Such as `client.create`. */
  readonly action: string;
  readonly target?: { readonly type: string; readonly id: string };
  readonly projectId?: string | null;
  readonly outcome?: "success" | "failure" | "denied";
  readonly details?: Readonly<Record<string, unknown>>;
}

/** An event as it is stored. */
export interface AuditRow {
  readonly id: string;
  readonly organizationId: string | null;
  readonly projectId: string | null;
  readonly actorKind: string;
  readonly actorId: string | null;
  readonly actorName: string | null;
  readonly action: string;
  readonly targetType: string | null;
  readonly targetId: string | null;
  readonly outcome: string;
  readonly address: string | null;
  readonly requestId: string | null;
  readonly details: object;
}

export function toAuditRow(principal: Principal, entry: AuditEntry): AuditRow {
  return {
    id: newId(),
    organizationId: principal.organizationId,
    projectId: entry.projectId ?? null,
    actorKind: principal.kind,
    actorId: principal.id,
    actorName: principal.name,
    action: entry.action,
    targetType: entry.target?.type ?? null,
    targetId: entry.target?.id ?? null,
    outcome: entry.outcome ?? "success",
    address: principal.origin.address,
    requestId: principal.origin.requestId,
    details: entry.details ?? {},
  };
}

/**
 * Writes down a change in the transaction that makes it: there is never one without the other. All changes pass here, so
 * one is taken back here whose request has lost its Idempotency-Key, while its process stood still: throws a conflict.
 */
export async function audit(tx: PrismaTransaction, principal: Principal, entry: AuditEntry): Promise<void> {
  const { held } = principal;
  if (held !== undefined) requireHeld(await tx.$executeRawUnsafe(STILL_HELD.text, held.id, held.claim));
  await tx.auditEvent.create({ data: toAuditRow(principal, entry) });
}

const INSERT = {
  name: "audit_insert",
  text: `INSERT INTO audit_events (id, organization_id, project_id, actor_kind, actor_id, actor_name, action,
           target_type, target_id, outcome, address, request_id, details)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
};

/** The same for transactions of prepared statements. */
export async function auditSql(tx: Sql, principal: Principal, entry: AuditEntry): Promise<void> {
  const { held } = principal;
  if (held !== undefined) requireHeld(await tx.run(STILL_HELD, [held.id, held.claim]));
  const row = toAuditRow(principal, entry);
  await tx.run(INSERT, [
    row.id,
    row.organizationId,
    row.projectId,
    row.actorKind,
    row.actorId,
    row.actorName,
    row.action,
    row.targetType,
    row.targetId,
    row.outcome,
    row.address,
    row.requestId,
    JSON.stringify(row.details),
  ]);
}

function requireHeld(rows: number): void {
  if (rows === 0) throw keyInFlight();
}
