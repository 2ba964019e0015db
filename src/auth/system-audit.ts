import { newId } from "../platform/ids.js";
import type { PrismaTransaction } from "../platform/prisma.js";

/** What the installation did, or its operator on the machine itself. */
export interface SystemEvent {
  readonly action: string;
  readonly target: { readonly type: string; readonly id: string };
  readonly details: object;
  /** Whose matter it is; absent: the installation's. */
  readonly organizationId?: string;
}

/**
 * Writes down a change that no principal of the api makes, in the transaction that makes it.
 * @param by who wants it
 */
export async function auditSystem(
  tx: PrismaTransaction,
  by: string,
  { action, target, details, organizationId }: SystemEvent,
): Promise<void> {
  await tx.auditEvent.create({
    data: {
      ...{
        id: newId(),
        organizationId: organizationId ?? null,
        actorKind: "system",
        actorName: by,
        action,
        outcome: "success",
      },
      ...{ targetType: target.type, targetId: target.id, details },
    },
  });
}
