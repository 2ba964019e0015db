import { setImmediate as nextTurn } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { AppError } from "../platform/errors.js";
import type { Logger } from "../platform/logger.js";
import type { Sql } from "../platform/sql.js";
import { type ClientRecord, type ClientRow, readClients, toClientRecord } from "./clients.js";

/**
 * What the database says of the clients in use, held in memory and never older than `MAX_AGE_MS`. One query
 * every `REFRESH_MS` covers them all; nothing that a client holds makes a query per request.
 */
export interface AccessRecords {
  /**
   * The record of a client, null where there is none: at once while the memory is fresh, else a promise, which
   * rejects with `unavailable` when the database cannot be asked. Never answers from an old record.
   */
  get(clientId: string): ClientRecord | null | Promise<ClientRecord | null>;
  /** What the database says now, however fresh the memory is. */
  reload(clientId: string): Promise<ClientRecord | null>;
  /** Makes the next look ask the database: after a change in this process, or a signal of another's. */
  forget(clientId: string): void;
  close(): void;
}

export interface AccessRecordDeps {
  readonly sql: Sql;
  readonly logger: Logger;
}

/** The promise of DESIGN.md section 5: a revocation reaches every process within this. */
export const MAX_AGE_MS = 1_000;
const REFRESH_MS = 500;
/** A client that was not seen for so long is no longer refreshed. */
const IDLE_MS = 10_000;
/** Longer than this, a query counts as failed. */
const QUERY_TIMEOUT_MS = 2_000;
const MAX_CLIENTS = 10_000;

/** Records that are read from the database and refreshed until `close`. */
export function createAccessRecords(deps: AccessRecordDeps): AccessRecords {
  return new CachedRecords(deps);
}

interface Entry {
  record: ClientRecord | null;
  /** The row as text: an unchanged row keeps its record, so that what hangs on the object stays valid. */
  print: string;
  /** When the query that confirmed it was sent (monotonic milliseconds). */
  confirmedAt: number;
  /** Answers to queries that were sent before this do not count: it was forgotten then. */
  notBefore: number;
  usedAt: number;
}

/** Look-ups of one turn of the event loop, sent as one query. */
interface Batch {
  readonly clientIds: Set<string>;
  readonly done: Promise<ReadonlyMap<string, ClientRecord>>;
}

class CachedRecords implements AccessRecords {
  readonly #deps: AccessRecordDeps;
  readonly #entries = new LRUCache<string, Entry>({ max: MAX_CLIENTS });
  readonly #timer: NodeJS.Timeout;
  #refreshing = false;
  #failing = false;
  #next: Batch | null = null;

  constructor(deps: AccessRecordDeps) {
    this.#deps = deps;
    this.#timer = setInterval(() => void this.#refresh(), REFRESH_MS).unref();
  }

  get(clientId: string): ClientRecord | null | Promise<ClientRecord | null> {
    const entry = this.#entries.get(clientId);
    if (entry === undefined) return this.reload(clientId);
    const now = performance.now();
    entry.usedAt = now;
    return now - entry.confirmedAt <= MAX_AGE_MS ? entry.record : this.reload(clientId);
  }

  async reload(clientId: string): Promise<ClientRecord | null> {
    // Joins only a query that has not been sent: the answer is never older than the question.
    this.#next ??= this.#newBatch();
    this.#next.clientIds.add(clientId);
    const found = await this.#next.done;
    return found.get(clientId) ?? null;
  }

  forget(clientId: string): void {
    const now = performance.now();
    this.#entries.set(clientId, {
      record: null,
      print: "",
      confirmedAt: -Infinity,
      notBefore: now,
      usedAt: now,
    });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #newBatch(): Batch {
    const clientIds = new Set<string>();
    const done = nextTurn().then(() => {
      this.#next = null;
      return this.#read([...clientIds]);
    });
    return { clientIds, done };
  }

  async #refresh(): Promise<void> {
    if (this.#refreshing) return;
    this.#refreshing = true;
    try {
      const inUse = this.#inUse(performance.now());
      if (inUse.length > 0) await this.#read(inUse);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#deps.logger.warn({ err: error }, "the access records could not be refreshed");
      this.#failing = true;
    } finally {
      this.#refreshing = false;
    }
  }

  #inUse(now: number): string[] {
    const inUse: string[] = [];
    for (const [clientId, entry] of [...this.#entries.entries()]) {
      if (now - entry.usedAt <= IDLE_MS) inUse.push(clientId);
      else this.#entries.delete(clientId);
    }
    return inUse;
  }

  async #read(clientIds: string[]): Promise<ReadonlyMap<string, ClientRecord>> {
    const sentAt = performance.now();
    const rows = await withTimeout(readClients(this.#deps.sql, clientIds)).catch((cause: unknown) => {
      throw new AppError("unavailable", "access cannot be checked at the moment", {
        details: { retryAfter: 1 },
        cause,
      });
    });
    const found = new Map<string, ClientRecord>();
    for (const row of rows) found.set(row.client_id, this.#keep(row.client_id, row, sentAt));
    for (const clientId of clientIds) if (!found.has(clientId)) this.#markAbsent(clientId, sentAt);
    return found;
  }

  #keep(clientId: string, row: ClientRow, sentAt: number): ClientRecord {
    const entry = this.#entries.peek(clientId);
    const print = JSON.stringify(row);
    if (entry === undefined) {
      const record = toClientRecord(row);
      this.#entries.set(clientId, { record, print, confirmedAt: sentAt, notBefore: 0, usedAt: sentAt });
      return record;
    }
    const record = entry.record !== null && entry.print === print ? entry.record : toClientRecord(row);
    if (counts(entry, sentAt)) Object.assign(entry, { record, print, confirmedAt: sentAt });
    return record;
  }

  /** Only clients that were known are remembered as gone: made-up ids of strangers take no place. */
  #markAbsent(clientId: string, sentAt: number): void {
    const entry = this.#entries.peek(clientId);
    if (entry !== undefined && counts(entry, sentAt)) {
      Object.assign(entry, { record: null, print: "", confirmedAt: sentAt });
    }
  }
}

/** Queries may overtake one another: an answer that was asked for earlier than the entry's changes nothing. */
function counts(entry: Entry, sentAt: number): boolean {
  return sentAt >= entry.confirmedAt && sentAt >= entry.notBefore;
}

async function withTimeout<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${QUERY_TIMEOUT_MS} ms`)), QUERY_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
