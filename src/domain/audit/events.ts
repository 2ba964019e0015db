import { type Principal, projectFilter } from "../../auth/principal.js";
import { inBatches } from "../../platform/batches.js";
import { AppError } from "../../platform/errors.js";
import type { PrismaClient } from "../../platform/prisma.js";

export interface AuditFilter {
  readonly action?: string;
  readonly actorId?: string;
  readonly targetType?: string;
  readonly targetId?: string;
  readonly outcome?: string;
  readonly since?: Date;
  readonly until?: Date;
}

export interface AuditEventView {
  readonly id: string;
  readonly time: Date;
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
  readonly details: unknown;
}

const BATCH = 5_000;

/** Reads the audit log, and prunes it by age. */
export class AuditEvents {
  readonly #prisma: PrismaClient;

  constructor(prisma: PrismaClient) {
    this.#prisma = prisma;
  }

  /** Events of the caller's organization, newest first; of its projects alone for a caller that is limited to some. */
  async list(
    principal: Principal,
    filter: AuditFilter,
    limit: number,
    before: string | null,
  ): Promise<AuditEventView[]> {
    const projects = projectFilter(principal);
    const where = {
      organizationId: principal.organizationId,
      ...(projects === null ? {} : { projectId: { in: projects } }),
    };
    return this.#read(where, filter, limit, before);
  }

  /**
   * Events of no organization, newest first: refused credentials that are nobody's, and what the installation did
   * itself. For who runs the platform.
   */
  async listOfInstallation(
    principal: Principal,
    filter: AuditFilter,
    limit: number,
    before: string | null,
  ): Promise<AuditEventView[]> {
    const scope = "platform:admin";
    if (!principal.scopes.has(scope)) {
      const message = `the scope ${scope} is required for the events of the installation`;
      throw new AppError("insufficient_scope", message, { details: { scope } });
    }
    return this.#read({ organizationId: null }, filter, limit, before);
  }

  #read(
    where: { readonly organizationId: string | null; readonly projectId?: { readonly in: string[] } },
    { since, until, ...equal }: AuditFilter,
    limit: number,
    before: string | null,
  ): Promise<AuditEventView[]> {
    return this.#prisma.auditEvent.findMany({
      where: {
        ...equal,
        ...where,
        ...(before === null ? {} : { id: { lt: before } }),
        time: {
          ...(since === undefined ? {} : { gte: since }),
          ...(until === undefined ? {} : { lt: until }),
        },
      },
      orderBy: { id: "desc" },
      take: limit,
    });
  }

  /** Removes events older than `days`, in batches; says how many. */
  prune(days: number, signal?: AbortSignal): Promise<number> {
    return inBatches(BATCH, signal, () =>
      this.#prisma.$transaction(async (tx) => {
        await tx.$executeRaw`SELECT set_config('gatehouse.audit_retention', 'on', true)`;
        return tx.$executeRaw`DELETE FROM audit_events WHERE id IN
          (SELECT id FROM audit_events WHERE time < now() - ${days}::int * interval '1 day' LIMIT ${BATCH}::int)`;
      }),
    );
  }
}
