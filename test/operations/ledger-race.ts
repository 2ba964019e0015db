import { holdOperation, requestCancel } from "../../src/operations/cancel.js";
import { LeaseLostError } from "../../src/operations/ledger.js";
import type { ClaimedOperation, Outcome } from "../../src/operations/operation.js";
import { AppError } from "../../src/platform/errors.js";
import { newId } from "../../src/platform/ids.js";
import type { Sql } from "../../src/platform/sql.js";
import { LEASE_MS, type LedgerBench, wish } from "./support.js";

/** One thing that an actor does; numbers pick among what there is. */
export interface Move {
  readonly do:
    | "request"
    | "claim"
    | "write"
    | "renew"
    | "progress"
    | "hand over"
    | "expire"
    | "cancel"
    | "finish";
  readonly on: number;
  readonly locks: readonly number[];
  readonly ending: "succeeded" | "failed" | "cancelled";
}

/** What an actor tried, with the moments around it. */
interface Event {
  readonly do: "claim" | "write" | "cancel";
  readonly id: string;
  readonly attempt: number;
  readonly began: number;
  readonly ended: number;
}

interface Hand {
  readonly id: string;
  readonly attempt: number;
  readonly status: string;
}

/** Rows that writes leave behind in their own transactions, at a moment in which they hold what they write about. */
const TRACES = `CREATE TABLE IF NOT EXISTS traces
  (what text, operation_id uuid, resource_id uuid, attempt int, ending text, at timestamptz DEFAULT clock_timestamp())`;

/** Of each moment: what is at work has one slot, what is only to be ended at most one, and nothing else has any. */
const WITH_WRONG_SLOTS = `SELECT id, status, leased_by AS by, slots FROM operations, LATERAL (
    SELECT count(*)::int AS slots FROM operation_slots WHERE operation_id = id) AS its
  WHERE organization_id = $1
    AND slots <> CASE WHEN leased_by IS NULL THEN 0 WHEN status = 'running' THEN 1 ELSE least(slots, 1) END`;

/** Actors that work on one ledger at the same time, and what can be said of it afterwards. */
export class Race {
  readonly #bench: LedgerBench;
  readonly #organizationId = newId();
  readonly #resources = [newId(), newId(), newId()];
  readonly #ids: string[] = [];
  readonly #events: Event[] = [];
  readonly #seen = new Set<string>();

  private constructor(bench: LedgerBench) {
    this.#bench = bench;
  }

  static async open(bench: LedgerBench): Promise<Race> {
    await bench.database.query(TRACES);
    return new Race(bench);
  }

  /** One actor: one move after the other, while other actors make theirs. */
  async play(moves: readonly Move[]): Promise<void> {
    const hands: Hand[] = [];
    for (const move of moves) await this.#make(move, hands);
  }

  async #make(move: Move, hands: Hand[]): Promise<void> {
    const { ledger } = this.#bench;
    const id = this.#ids[move.on % Math.max(1, this.#ids.length)];
    const hand = hands[move.on % Math.max(1, hands.length)];
    if (move.do === "request") return this.#request(move.locks);
    if (id === undefined) return;
    if (move.do === "expire") return this.#bench.expireLease(id);
    if (move.do === "cancel") return this.#cancel(id);
    if (move.do === "claim") return this.#claim(id, hands);
    if (hand === undefined) return;
    const { attempt } = hand;
    const trace = (tx: Sql, what: string, ending: string | null) =>
      tx.run("INSERT INTO traces (what, operation_id, attempt, ending) VALUES ($1, $2, $3, $4)", [
        ...[what, hand.id, attempt, ending],
      ]);
    const ending = hand.status === "cancelling" ? "cancelled" : move.ending;
    const writes = {
      write: () => ledger.fenced(hand.id, attempt, (tx) => trace(tx, "write", null)),
      renew: () => ledger.renew(hand.id, attempt, LEASE_MS),
      progress: () => ledger.recordProgress(hand.id, attempt, { percent: move.on, message: "" }),
      "hand over": () => ledger.handOver(hand.id, attempt),
      finish: async () => {
        const began = performance.now();
        const settle = (tx: Sql) => this.#settle(tx, hand, ending);
        // Every other one goes on with what waits.
        const taker = move.on % 2 === 0 ? { workerId: "an actor", leaseMs: LEASE_MS, regions: [] } : null;
        const { next } = await ledger.finish(hand.id, attempt, outcomeOf(ending), settle, taker);
        if (next !== null) this.#hold(next, began, hands);
      },
    } as const;
    const landed = await this.#timed("write", hand.id, attempt, () =>
      writes[move.do as keyof typeof writes](),
    );
    // A hand-over says nothing of its own success.
    if (landed !== null && move.do !== "hand over") this.#events.push(landed);
  }

  async #request(on: readonly number[]): Promise<void> {
    const resources = [...new Set(on.map((index) => this.#resources[index % this.#resources.length] ?? ""))];
    const locks = resources.map((id) => ({ type: "thing", id }));
    try {
      const { id } = await this.#bench.db.transaction(async (tx) => {
        const accepted = await this.#bench.ledger.request(
          tx,
          wish({ organizationId: this.#organizationId, locks }),
        );
        for (const resource of resources) await traceLock(tx, "acquire", accepted.id, resource);
        return accepted;
      });
      this.#ids.push(id);
    } catch (error) {
      if (!(error instanceof AppError && error.code === "conflict")) throw error;
    }
  }

  async #settle(tx: Sql, { id, attempt }: Hand, ending: string): Promise<void> {
    await tx.run("INSERT INTO traces (what, operation_id, attempt, ending) VALUES ('finish', $1, $2, $3)", [
      ...[id, attempt, ending],
    ]);
    const locks = await tx.rows<{ id: string }>(
      "SELECT resource_id AS id FROM operation_locks WHERE operation_id = $1",
      [id],
    );
    for (const lock of locks) await traceLock(tx, "release", id, lock.id);
  }

  async #claim(id: string, hands: Hand[]): Promise<void> {
    const began = performance.now();
    const claimed = await this.#bench.ledger.claim(id, "an actor", LEASE_MS);
    if (claimed !== null) this.#hold(claimed, began, hands);
  }

  #hold({ id, attempt, status }: ClaimedOperation, began: number, hands: Hand[]): void {
    hands.push({ id, attempt, status });
    this.#events.push({ do: "claim", id, attempt, began, ended: performance.now() });
  }

  async #cancel(id: string): Promise<void> {
    const began = performance.now();
    await this.#bench.db.transaction(async (tx) => {
      const held = await holdOperation(tx, id, { organizationId: this.#organizationId, projects: null });
      if (held !== null) await requestCancel(tx, held);
    });
    this.#events.push({ do: "cancel", id, attempt: 0, began, ended: performance.now() });
  }

  async #timed(
    name: "write",
    id: string,
    attempt: number,
    work: () => Promise<unknown>,
  ): Promise<Event | null> {
    const began = performance.now();
    try {
      await work();
      return { do: name, id, attempt, began, ended: performance.now() };
    } catch (error) {
      if (error instanceof LeaseLostError) return null;
      throw error;
    }
  }

  /** Looks at the slots for as long as some work takes. */
  async watch(work: Promise<unknown>): Promise<void> {
    let isOver = false;
    const look = async (): Promise<void> => {
      while (!isOver)
        for (const wrong of await this.#bench.database.query(WITH_WRONG_SLOTS, [this.#organizationId]))
          this.#seen.add(`slots: ${JSON.stringify(wrong)}`);
    };
    const over = work.finally(() => {
      isOver = true;
    });
    await Promise.all([over, look()]);
  }

  /** What is left is taken over and ended, as a sweep and workers would. */
  async drain(): Promise<void> {
    // First what has a slot, then what waited for one.
    for (const id of [...this.#ids, ...this.#ids]) {
      await this.#bench.expireLease(id);
      const hands: Hand[] = [];
      await this.#claim(id, hands);
      const [hand] = hands;
      if (hand === undefined) continue;
      const ending = hand.status === "cancelling" ? "cancelled" : "succeeded";
      await this.#bench.ledger.finish(id, hand.attempt, outcomeOf(ending), (tx) =>
        this.#settle(tx, hand, ending),
      );
    }
  }

  /** Everything that is wrong; empty: nothing. */
  async faults(): Promise<string[]> {
    const found = [...this.#seen];
    for (const id of this.#ids) found.push(...(await this.#faultsOf(id)));
    for (const resource of this.#resources) found.push(...(await this.#faultsOfLocks(resource)));
    return found;
  }

  async #faultsOf(id: string): Promise<string[]> {
    const found: string[] = [];
    const row = await this.#bench.row(id);
    const claims = this.#events.filter((event) => event.do === "claim" && event.id === id);
    const attempts = claims.map(({ attempt }) => attempt).sort((a, b) => a - b);
    if (attempts.join() !== Array.from({ length: row.attempt }, (_, i) => i + 1).join())
      found.push(`${id}: claims got the attempts ${attempts.join()}, and it is at ${row.attempt}`);
    for (const write of this.#events.filter((event) => event.do === "write" && event.id === id)) {
      const successor = claims.find((claim) => claim.attempt > write.attempt && claim.ended < write.began);
      if (successor !== undefined)
        found.push(`${id}: attempt ${write.attempt} wrote after attempt ${successor.attempt} had it`);
    }
    const traces = await this.#bench.database.query<{ what: string; attempt: number; ending: string }>(
      "SELECT what, attempt, ending FROM traces WHERE operation_id = $1 AND resource_id IS NULL ORDER BY at",
      [id],
    );
    const order = traces.map(({ attempt }) => attempt);
    if (order.some((attempt, i) => attempt < (order[i - 1] ?? 0)))
      found.push(`${id}: wrote in the order ${order.join()}`);
    const ends = traces.filter(({ what }) => what === "finish");
    if (ends.length !== 1 || traces.at(-1)?.what !== "finish" || ends[0]?.ending !== row.status)
      found.push(
        `${id} is ${row.status}: ${traces.map(({ what, ending }) => `${what} ${ending}`).join(", ")}`,
      );
    const firstClaim = claims.find(({ attempt }) => attempt === 1);
    const cancelledBefore = this.#events.some(
      (event) => event.do === "cancel" && event.id === id && event.ended < (firstClaim?.began ?? 0),
    );
    if (cancelledBefore && row.status !== "cancelled")
      found.push(`${id}: cancelled before it began, and ${row.status}`);
    if ((await this.#bench.locks(id)).length > 0) found.push(`${id}: has ended and holds locks`);
    return found;
  }

  async #faultsOfLocks(resource: string): Promise<string[]> {
    const traces = await this.#bench.database.query<{ what: string; id: string }>(
      "SELECT what, operation_id AS id FROM traces WHERE resource_id = $1 ORDER BY at",
      [resource],
    );
    return traces.flatMap(({ what, id }, i) => {
      const before = traces[i - 1];
      const fits = what === "acquire" ? (before?.what ?? "release") === "release" : before?.id === id;
      return fits ? [] : [`resource ${resource}: ${what} by ${id} after ${before?.what} by ${before?.id}`];
    });
  }
}

function traceLock(
  tx: Sql,
  what: "acquire" | "release",
  operationId: string,
  resource: string,
): Promise<number> {
  return tx.run("INSERT INTO traces (what, operation_id, resource_id) VALUES ($1, $2, $3)", [
    what,
    operationId,
    resource,
  ]);
}

function outcomeOf(ending: Move["ending"]): Outcome {
  if (ending === "succeeded") return { status: "succeeded", result: 1 };
  if (ending === "cancelled") return { status: "cancelled" };
  return { status: "failed", error: { type: "x", title: "x", status: 500, detail: "x" } };
}
