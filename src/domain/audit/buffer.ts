import type { Principal } from "../../auth/principal.js";
import { newId } from "../../platform/ids.js";
import type { Logger } from "../../platform/logger.js";
import type { PrismaClient } from "../../platform/prisma.js";
import { isDatabaseAway } from "../../platform/sql.js";
import { toStorable } from "../../platform/text.js";
import { type AuditEntry, type AuditRow, toAuditRow } from "./audit.js";

const FLUSH_EVERY_MS = 250;
/** Waiting events; what comes on top is counted and said in one event. */
const CAPACITY = 2_000;

/** Somebody that is not known: who it claimed to be, and from where. */
export interface Stranger {
  /** The tenant, where the claim names a client or user that exists. */
  readonly organizationId: string | null;
  /** What was claimed: a client id, a user name. */
  readonly claimed: string | null;
  readonly address: string | null;
  readonly requestId: string | null;
}

/**
 * Writes down what changes nothing, such as refused requests, in batches: within a second, and never at the cost
 * of the request. A flood is bounded, and shows as such.
 */
export class AuditBuffer {
  readonly #prisma: PrismaClient;
  readonly #logger: Logger;
  readonly #timer: NodeJS.Timeout;
  #waiting: AuditRow[] = [];
  #dropped = 0;
  #flushing: Promise<void> = Promise.resolve();

  constructor(prisma: PrismaClient, logger: Logger) {
    this.#prisma = prisma;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS).unref();
  }

  /** Notes what a known principal tried. */
  note(principal: Principal, entry: AuditEntry): void {
    this.#push(toAuditRow(principal, entry));
  }

  /** Notes a failed credential check. */
  noteStranger(stranger: Stranger, entry: AuditEntry): void {
    this.#push({
      id: newId(),
      organizationId: stranger.organizationId,
      projectId: null,
      actorKind: "anonymous",
      actorId: null,
      // Whatever a stranger sends is written somehow: one event that cannot be would keep all others waiting.
      actorName: stranger.claimed === null ? null : toStorable(stranger.claimed.slice(0, 200)),
      action: entry.action,
      targetType: entry.target?.type ?? null,
      targetId: entry.target?.id ?? null,
      outcome: entry.outcome ?? "failure",
      address: stranger.address,
      requestId: stranger.requestId,
      details: entry.details ?? {},
    });
  }

  #push(row: AuditRow): void {
    if (this.#waiting.length < CAPACITY) this.#waiting.push(row);
    else this.#dropped += 1;
  }

  /** Writes what waits. Never rejects; what could not be written waits for the next time. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#write());
    return this.#flushing;
  }

  async #write(): Promise<void> {
    const rows = this.#waiting;
    const dropped = this.#dropped;
    if (rows.length === 0 && dropped === 0) return;
    this.#waiting = [];
    this.#dropped = 0;
    try {
      await this.#prisma.auditEvent.createMany({ data: dropped === 0 ? rows : [...rows, overflow(dropped)] });
    } catch (error) {
      this.#logger.warn({ err: error, events: rows.length }, "audit events could not be written yet");
      const left = isDatabaseAway(error) ? rows : await this.#writeEach(rows);
      this.#dropped += dropped + Math.max(0, left.length + this.#waiting.length - CAPACITY);
      this.#waiting = [...left, ...this.#waiting].slice(0, CAPACITY);
    }
  }

  /** Where something is wrong with one of them, the others are written without it. Gives back what has to wait. */
  async #writeEach(rows: readonly AuditRow[]): Promise<AuditRow[]> {
    const left: AuditRow[] = [];
    for (const row of rows) {
      try {
        await this.#prisma.auditEvent.createMany({ data: [row], skipDuplicates: true });
      } catch (error) {
        if (isDatabaseAway(error)) left.push(row);
        else {
          this.#logger.error({ err: error, action: row.action }, "an audit event cannot be written");
          this.#dropped += 1;
        }
      }
    }
    return left;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }
}

function overflow(dropped: number): AuditRow {
  return {
    id: newId(),
    organizationId: null,
    projectId: null,
    actorKind: "system",
    actorId: null,
    actorName: null,
    action: "audit.overflow",
    targetType: null,
    targetId: null,
    outcome: "failure",
    address: null,
    requestId: null,
    details: { dropped },
  };
}
