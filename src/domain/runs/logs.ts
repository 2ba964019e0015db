import type { PrismaClient } from "../../platform/prisma.js";

export interface LogLine {
  readonly id: bigint;
  readonly step: string;
  readonly stream: string;
  readonly level: string;
  readonly time: Date;
  readonly message: string;
}

/** A window on a run's log, oldest line first, with what lies beyond it. */
export interface LogPage {
  readonly lines: readonly LogLine[];
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
}

export interface LogQuery {
  readonly runId: string;
  readonly step?: string;
  readonly limit: number;
  /** Lines beyond this one, in `direction`; null: from that end. */
  readonly cursor: bigint | null;
  readonly direction: "older" | "newer";
}

export class Logs {
  readonly #prisma: PrismaClient;

  constructor(prisma: PrismaClient) {
    this.#prisma = prisma;
  }

  async page(query: LogQuery): Promise<LogPage> {
    const older = query.direction === "older";
    const where = { runId: query.runId, ...(query.step === undefined ? {} : { step: query.step }) };
    const beyond = query.cursor === null ? {} : { id: older ? { lt: query.cursor } : { gt: query.cursor } };
    const found = await this.#prisma.stepLog.findMany({
      where: { ...where, ...beyond },
      orderBy: { id: older ? "desc" : "asc" },
      take: query.limit + 1,
    });
    const more = found.length > query.limit;
    const lines = found.slice(0, query.limit);
    if (older) lines.reverse();
    const behind =
      query.cursor !== null && (lines.length === 0 || (await this.#anyBehind(where, lines, older)));
    return { lines, hasOlder: older ? more : behind, hasNewer: older ? behind : more };
  }

  /** Whether lines lie on the side that the query came from. */
  async #anyBehind(
    where: { runId: string; step?: string },
    lines: readonly LogLine[],
    older: boolean,
  ): Promise<boolean> {
    const edge = older ? lines.at(-1) : lines[0];
    if (edge === undefined) return false;
    const id = older ? { gt: edge.id } : { lt: edge.id };
    return (await this.#prisma.stepLog.findFirst({ where: { ...where, id }, select: { id: true } })) !== null;
  }
}
