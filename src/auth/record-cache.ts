import { setImmediate as nextTurn } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { AppError } from "../platform/errors.js";
import type { Logger } from "../platform/logger.js";

/** What the database says of somebody, held in memory and never older than a second. */
export interface RecordCache<Rec> {
  /**
   * At once where memory is fresh (null: there is none), else what the database says: the promise rejects with
   * `unavailable` when it cannot be asked. Never answers from an old record.
   */
  get(id: string): Rec | null | Promise<Rec | null>;
  /** What the database says now, however fresh the memory is. */
  reload(id: string): Promise<Rec | null>;
  /** Makes the next look ask the database: after a change in this process, or a signal of another's. */
  forget(id: string): void;
  close(): void;
}

export interface RecordCacheOptions<Row, Rec> {
  readonly logger: Logger;
  /** The rows that exist among those asked for, in one query. */
  readonly read: (ids: readonly string[]) => Promise<readonly Row[]>;
  readonly idOf: (row: Row) => string;
  readonly toRecord: (row: Row) => Rec;
}

/** The promise of DESIGN.md section 5: a revocation reaches every process within this. */
export const MAX_AGE_MS = 1_000;
const REFRESH_MS = 500;
/** What was not asked for so long is no longer refreshed. */
const IDLE_MS = 10_000;
/** Longer than this, a query counts as failed. */
const QUERY_TIMEOUT_MS = 2_000;
const MAX_RECORDS = 10_000;

/** Records that are read from the database and refreshed, in one query for all in use, until `close`. */
export function createRecordCache<Row, Rec>(options: RecordCacheOptions<Row, Rec>): RecordCache<Rec> {
  return new CachedRecords(options);
}

interface Entry<Rec> {
  record: Rec | null;
  /** The row as text: an unchanged row keeps its record, so that what hangs on the object stays valid. */
  print: string;
  /** When the query that confirmed it was sent (monotonic milliseconds). */
  confirmedAt: number;
  /** Answers to queries that were sent before this do not count: it was forgotten then. */
  notBefore: number;
  usedAt: number;
}

/** Look-ups of one turn of the event loop, sent as one query. */
interface Batch<Rec> {
  readonly ids: Set<string>;
  readonly done: Promise<ReadonlyMap<string, Rec>>;
}

class CachedRecords<Row, Rec> implements RecordCache<Rec> {
  readonly #options: RecordCacheOptions<Row, Rec>;
  readonly #entries = new LRUCache<string, Entry<Rec>>({ max: MAX_RECORDS });
  readonly #timer: NodeJS.Timeout;
  #refreshing = false;
  #failing = false;
  #next: Batch<Rec> | null = null;

  constructor(options: RecordCacheOptions<Row, Rec>) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#refresh(), REFRESH_MS).unref();
  }

  get(id: string): Rec | null | Promise<Rec | null> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return this.reload(id);
    const now = performance.now();
    entry.usedAt = now;
    return now - entry.confirmedAt <= MAX_AGE_MS ? entry.record : this.reload(id);
  }

  async reload(id: string): Promise<Rec | null> {
    // Joins only a query that has not been sent: the answer is never older than the question.
    this.#next ??= this.#newBatch();
    this.#next.ids.add(id);
    const found = await this.#next.done;
    return found.get(id) ?? null;
  }

  forget(id: string): void {
    const now = performance.now();
    this.#entries.set(id, { record: null, print: "", confirmedAt: -Infinity, notBefore: now, usedAt: now });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #newBatch(): Batch<Rec> {
    const ids = new Set<string>();
    const done = nextTurn().then(() => {
      this.#next = null;
      return this.#read([...ids]);
    });
    return { ids, done };
  }

  async #refresh(): Promise<void> {
    if (this.#refreshing) return;
    this.#refreshing = true;
    try {
      const inUse = this.#inUse(performance.now());
      if (inUse.length > 0) await this.#read(inUse);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#options.logger.warn({ err: error }, "access could not be looked up again");
      this.#failing = true;
    } finally {
      this.#refreshing = false;
    }
  }

  #inUse(now: number): string[] {
    const inUse: string[] = [];
    for (const [id, entry] of [...this.#entries.entries()]) {
      if (now - entry.usedAt <= IDLE_MS) inUse.push(id);
      else this.#entries.delete(id);
    }
    return inUse;
  }

  async #read(ids: string[]): Promise<ReadonlyMap<string, Rec>> {
    const sentAt = performance.now();
    const rows = await withTimeout(this.#options.read(ids)).catch((cause: unknown) => {
      throw new AppError("unavailable", "access cannot be checked at the moment", {
        details: { retryAfter: 1 },
        cause,
      });
    });
    const found = new Map<string, Rec>();
    for (const row of rows) {
      const id = this.#options.idOf(row);
      found.set(id, this.#keep(id, row, sentAt));
    }
    for (const id of ids) if (!found.has(id)) this.#markAbsent(id, sentAt);
    return found;
  }

  #keep(id: string, row: Row, sentAt: number): Rec {
    const entry = this.#entries.peek(id);
    const print = JSON.stringify(row);
    if (entry === undefined) {
      const record = this.#options.toRecord(row);
      this.#entries.set(id, { record, print, confirmedAt: sentAt, notBefore: 0, usedAt: sentAt });
      return record;
    }
    const known = entry.record !== null && entry.print === print ? entry.record : null;
    const record = known ?? this.#options.toRecord(row);
    if (counts(entry, sentAt)) Object.assign(entry, { record, print, confirmedAt: sentAt });
    return record;
  }

  /** Only what was known is remembered as gone: made-up ids of strangers take no place. */
  #markAbsent(id: string, sentAt: number): void {
    const entry = this.#entries.peek(id);
    if (entry !== undefined && counts(entry, sentAt)) {
      Object.assign(entry, { record: null, print: "", confirmedAt: sentAt });
    }
  }
}

/** Queries may overtake one another: an answer that was asked for earlier than the entry's changes nothing. */
function counts(
  entry: { readonly confirmedAt: number; readonly notBefore: number },
  sentAt: number,
): boolean {
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
