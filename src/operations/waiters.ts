import type { Signals } from "../platform/signals.js";
import type { Database } from "../platform/sql.js";
import { onChange } from "./changes.js";
import { COLUMNS } from "./columns.js";
import { isDone, type Operation } from "./operation.js";

/** Lost signals are made up for by one query over everything that is waited for. */
const BACKSTOP_MS = 500;
/** In one process; whoever comes on top does not wait. */
export const CAPACITY = 10_000;
/** No organization takes all of it. */
export const CAPACITY_OF_ONE = 6_000;
/** What a watcher knows that waits for the end alone. */
const NOTHING_BUT_THE_END = -1;

const NEWS = {
  name: "operations_news",
  text: `SELECT ${COLUMNS} FROM operations
         JOIN unnest($1::uuid[], $2::int[]) AS watched (watched_id, known) ON id = watched_id
         WHERE status IN ('succeeded', 'failed', 'cancelled') OR known >= 0 AND revision <> known`,
};

/** What is waited for, as it was seen last. */
type Watched = Pick<Operation, "id" | "revision" | "organizationId">;

/** Null: whoever waits belongs to the process itself, and counts for no organization. */
interface WaitedFor {
  readonly id: string;
  readonly organizationId: string | null;
}

/** Somebody who wants to know of an operation. */
interface Watcher {
  /** The revision that it knows. */
  known: number;
  /** There is another revision, or the operation has ended. */
  told(operation: Operation): void;
  /** A signal says that it has ended; true: that is enough. */
  ended?(): boolean;
  /** Nobody will be told any more. */
  closed(): void;
}

/**
 * Waits for operations to change and to end without a query per waiter: fed by signals, with one batched query every
 * 500 ms, for everybody together, while anybody waits at all.
 */
export class Waiters {
  readonly #db: Database;
  readonly #watchers = new Map<string, Set<Watcher>>();
  /** How many wait, by organization. */
  readonly #counts = new Map<string, number>();
  readonly #unsubscribe: () => void;
  /** Not looked at yet. */
  #fresh = new Set<string>();
  #count = 0;
  #looking = false;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(db: Database, signals: Signals) {
    this.#db = db;
    this.#unsubscribe = onChange(signals, (id, change) => this.#hear(id, change === "ended"));
  }

  /** How many wait now. */
  get count(): number {
    return this.#count;
  }

  /** Whether nobody is told any more: the process is about to stop. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Whether there is no room for somebody of an organization who could go without waiting. */
  isFullFor(organizationId: string): boolean {
    if (this.#closed || this.#count >= CAPACITY) return true;
    return (this.#counts.get(organizationId) ?? 0) >= CAPACITY_OF_ONE;
  }

  /** Resolves when the operation has ended (true), or `timeoutMs` has passed or this is closed (false). Never rejects. */
  wait(id: string, timeoutMs: number): Promise<boolean> {
    return this.#until<boolean>({ id, organizationId: null }, timeoutMs, false, null, (resolve) => ({
      told: () => resolve(true),
      ended: () => {
        resolve(true);
        return true;
      },
    }));
  }

  /**
   * The operation when it has ended; null where `timeoutMs` has passed, `signal` was aborted or this is closed
   * before. Never rejects.
   */
  waitFor(operation: Watched, timeoutMs: number, signal: AbortSignal): Promise<Operation | null> {
    return this.#until<Operation | null>(operation, timeoutMs, null, signal, (resolve) => ({
      told: resolve,
    }));
  }

  /**
   * Tells of every other revision of an operation than this one, the latest alone where several came at once, until
   * the returned function is called.
   * @param closed called when nobody will be told any more
   */
  watch(operation: Watched, told: (operation: Operation) => void, closed: () => void): () => void {
    if (this.#closed) {
      closed();
      return () => {};
    }
    return this.#add(operation, { known: operation.revision, told, closed });
  }

  #until<T>(
    operation: WaitedFor,
    timeoutMs: number,
    otherwise: T,
    signal: AbortSignal | null,
    listen: (resolve: (value: T) => void) => Pick<Watcher, "told" | "ended">,
  ): Promise<T> {
    if (this.#closed || signal?.aborted === true) return Promise.resolve(otherwise);
    return new Promise((resolve) => {
      const settle = (value: T): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", giveUp);
        remove();
        resolve(value);
      };
      const giveUp = (): void => settle(otherwise);
      const timer = setTimeout(giveUp, timeoutMs);
      signal?.addEventListener("abort", giveUp, { once: true });
      const remove = this.#add(operation, { known: NOTHING_BUT_THE_END, closed: giveUp, ...listen(settle) });
    });
  }

  #add({ id, organizationId }: WaitedFor, watcher: Watcher): () => void {
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(watcher));
    this.#countUp(organizationId, 1);
    // Something may have happened between the caller's last look and now.
    this.#lookAt(id);
    this.#timer ??= setInterval(() => this.#lookAtAll(), BACKSTOP_MS);
    return () => {
      if (!watchers.delete(watcher)) return;
      this.#countUp(organizationId, -1);
      if (watchers.size === 0) this.#watchers.delete(id);
    };
  }

  #countUp(organizationId: string | null, more: number): void {
    this.#count += more;
    if (organizationId === null) return;
    const count = (this.#counts.get(organizationId) ?? 0) + more;
    if (count > 0) this.#counts.set(organizationId, count);
    else this.#counts.delete(organizationId);
  }

  #hear(id: string, ended: boolean): void {
    let curious = false;
    for (const watcher of this.#watchers.get(id) ?? []) {
      if (ended && watcher.ended?.() === true) continue;
      if (ended || watcher.known !== NOTHING_BUT_THE_END) curious = true;
    }
    if (curious) this.#lookAt(id);
  }

  #lookAt(id: string): void {
    this.#fresh.add(id);
    void this.#lookAtFresh();
  }

  #lookAtAll(): void {
    if (this.#watchers.size > 0) {
      for (const id of this.#watchers.keys()) this.#fresh.add(id);
      void this.#lookAtFresh();
    } else if (this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }

  /** One query at a time: whoever comes while one runs is in the next, together with all others. */
  async #lookAtFresh(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    // Everybody who comes in this very turn of the event loop shares the first query too.
    await Promise.resolve();
    while (this.#fresh.size > 0) {
      const ids = [...this.#fresh].filter((id) => this.#watchers.has(id));
      this.#fresh = new Set();
      if (ids.length === 0) break;
      const known = ids.map((id) => this.#leastKnown(id));
      const news = await this.#db.rows<Operation>(NEWS, [ids, known]).catch(() => []);
      for (const operation of news) this.#tell(operation);
    }
    this.#looking = false;
  }

  /** Revisions only grow: who knows less than others decides what is asked for. */
  #leastKnown(id: string): number {
    let least = NOTHING_BUT_THE_END;
    for (const { known } of this.#watchers.get(id) ?? []) {
      if (known !== NOTHING_BUT_THE_END) least = least < 0 ? known : Math.min(least, known);
    }
    return least;
  }

  #tell(operation: Operation): void {
    const ended = isDone(operation.status);
    for (const watcher of this.#watchers.get(operation.id) ?? []) {
      const isNew = watcher.known !== NOTHING_BUT_THE_END && watcher.known !== operation.revision;
      if (isNew) watcher.known = operation.revision;
      if (ended || isNew) watcher.told(operation);
    }
  }

  /** Lets everybody go. */
  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const watchers of [...this.#watchers.values()]) for (const watcher of watchers) watcher.closed();
  }
}
