import type { Principal } from "../../auth/principal.js";
import { inBatches } from "../../platform/batches.js";
import type { PrismaClient } from "../../platform/prisma.js";
import { findClient } from "./client-view.js";

/** How many tokens a client was issued in an hour. */
export interface TokenCountView {
  /** Its beginning. */
  readonly hour: Date;
  readonly count: number;
}

const BATCH = 5_000;

/** The part of the audit log that is kept as counts: tokens that were issued (src/auth/token-counts.ts writes them). */
export class IssuedTokens {
  readonly #prisma: PrismaClient;

  constructor(prisma: PrismaClient) {
    this.#prisma = prisma;
  }

  /** The hours in which a client got tokens, the latest first. */
  async list(
    principal: Principal,
    reference: string,
    limit: number,
    before: Date | null,
  ): Promise<TokenCountView[]> {
    const { id: clientId } = await findClient(this.#prisma, principal, reference);
    return this.#prisma.tokenCount.findMany({
      where: { clientId, ...(before === null ? {} : { hour: { lt: before } }) },
      select: { hour: true, count: true },
      orderBy: { hour: "desc" },
      take: limit,
    });
  }

  /** Removes counts that are older than `days`, in batches; says how many. */
  prune(days: number, signal?: AbortSignal): Promise<number> {
    // An array is looked for once; a plan may run a subquery of IN again and again.
    return inBatches(
      BATCH,
      signal,
      async () =>
        this.#prisma.$executeRaw`DELETE FROM token_counts WHERE ctid = ANY (ARRAY
          (SELECT t.ctid FROM token_counts t
           WHERE t.hour < now() - ${days}::int * interval '1 day' LIMIT ${BATCH}::int))`,
    );
  }
}
