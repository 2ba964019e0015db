import { type Database, type Sql, type Statement, toJsonb } from "../platform/sql.js";
import type { OperationStep, Outcome, Progress } from "./operation.js";
import {
  ENDED_COLUMNS,
  RELEASED,
  RELEASED_COLUMNS,
  type Released,
  type ReleasedRow,
  release,
  releasedOf,
  TAKER,
  type Taker,
  takerOf,
  WITH_RELEASED,
} from "./release.js";
import { mineOf } from "./slots.js";
import { inOrder, type Locking, operationOf, Together } from "./together.js";

/** The rows of those attempts that are still their operations', held in the order of the operations' ids. */
const MINE = (wishes: string, locking: Locking): string => `asked AS (
           SELECT DISTINCT ON (asked_id) * FROM jsonb_to_recordset($1::jsonb)
             AS wish (nr int, asked_id uuid, asked_attempt int, ${wishes}) ORDER BY asked_id, nr),
         mine AS (
           SELECT asked.* FROM asked, LATERAL (
             SELECT FROM operations WHERE ${mineOf("asked_id", "asked_attempt")} ${locking}) AS still)`;

const NOTE = (locking: Locking): string => `WITH ${MINE("new_steps jsonb, new_progress jsonb", locking)}
         UPDATE operations SET steps = coalesce(new_steps, steps), progress = coalesce(new_progress, progress),
           revision = revision + 1
         FROM mine WHERE ${operationOf("asked_id", "mine")} RETURNING nr`;

/**
 * Ends the attempts' operations. Not found by `operationOf`: the plan would count with one of them, and go through all that
 * follows (`RELEASED`) row by row, which takes several times as long for fifty.
 */
const END = (
  locking: Locking,
): string => `WITH ${MINE(`new_status operation_status, new_result jsonb, new_error jsonb, ${TAKER}`, locking)},
         ended AS (
           UPDATE operations
           SET status = new_status, error = new_error,
               result = CASE WHEN new_status = 'succeeded' THEN coalesce(new_result, 'null') END,
               finished_at = clock_timestamp(), revision = revision + 1,
               lease_expires_at = NULL, leased_by = NULL, payload_secrets = NULL,
               progress = CASE WHEN new_status = 'succeeded' THEN progress || '{"percent": 100, "message": "done"}' ELSE progress END
           FROM mine WHERE id = asked_id
           RETURNING nr, taker, taker_lease_ms, taker_regions, ${ENDED_COLUMNS}, operation_type AS ended_type,
             extract(epoch FROM finished_at - started_at)::float8 AS seconds)`;

const ENDED = 'SELECT nr, ended_type AS "endedType", seconds';
const FINISH = { name: "operation_finish", text: `${END("FOR UPDATE")} ${ENDED} FROM ended` };

/** Where nothing else is written with it: one statement ends it and frees what it held. */
const FINISH_ALONE = (locking: Locking): string => `${END(locking)}, ${RELEASED}
         ${ENDED}, ${RELEASED_COLUMNS} FROM ended ${WITH_RELEASED}`;

function bothWays(name: string, text: (locking: Locking) => string): Readonly<Record<Locking, Statement>> {
  return {
    "FOR UPDATE": { name, text: text("FOR UPDATE") },
    "FOR UPDATE SKIP LOCKED": { name: `${name}_all`, text: text("FOR UPDATE SKIP LOCKED") },
  };
}

const NOTES = bothWays("operation_note", NOTE);
const FINISHES = bothWays("operation_finish_alone", FINISH_ALONE);

/** An attempt at an operation: the fence of what is written for it. */
export interface AttemptRef {
  readonly id: string;
  readonly attempt: number;
}

/** What an attempt tells of itself. */
export interface Note extends AttemptRef {
  readonly steps?: readonly OperationStep[];
  readonly progress?: Progress;
}

interface Finish extends AttemptRef {
  readonly outcome: Outcome;
  readonly taker: Taker | null;
}

interface Ended {
  readonly endedType: string;
  readonly seconds: number;
}

export type Finished = Ended & Released;

type Numbered<Row> = Row & { readonly nr: number };

/**
 * What the attempts of one process write, group committed. Undefined answers say that an attempt is no longer its
 * operation's, and that nothing was written for it.
 */
export class AttemptWrites {
  readonly #notes: Together<Note, Numbered<object>>;
  readonly #finishes: Together<Finish, Numbered<Ended & ReleasedRow>>;
  readonly #defaultLimit: number;

  /** @param defaultLimit slots of an organization of whom nothing was said */
  constructor(db: Database, defaultLimit: number) {
    this.#defaultLimit = defaultLimit;
    this.#notes = new Together(async (notes, locking) => {
      const wishes = notes.map(({ id, attempt, steps = null, progress = null }, nr) => ({
        ...{ nr, asked_id: id, asked_attempt: attempt, new_steps: steps, new_progress: progress },
      }));
      return inOrder(notes, await db.rows<Numbered<object>>(NOTES[locking], [toJsonb(wishes)]));
    });
    this.#finishes = new Together(async (finishes, locking) => {
      const values = [toJsonb(finishes.map(wishOf)), defaultLimit];
      return inOrder(finishes, await db.rows<Numbered<Ended & ReleasedRow>>(FINISHES[locking], values));
    });
  }

  async note(note: Note): Promise<boolean> {
    return (await this.#notes.write(note)) !== undefined;
  }

  /** Ends an operation and frees what it held, or passes its slot on to the next one, which the taker works at then. */
  async finish(ref: AttemptRef, outcome: Outcome, taker: Taker | null): Promise<Finished | undefined> {
    const row = await this.#finishes.write({ ...ref, outcome, taker });
    if (row === undefined) return undefined;
    const { nr: _nr, endedType, seconds, ...left } = row;
    return { endedType, seconds, ...releasedOf(left) };
  }

  /** The same within a transaction that writes more. */
  async finishWith(
    tx: Sql,
    { id, attempt }: AttemptRef,
    outcome: Outcome,
    taker: Taker | null,
    settle: (tx: Sql) => Promise<void>,
  ): Promise<Finished | undefined> {
    const wish = wishOf({ id, attempt, outcome, taker }, 0);
    const [ended] = await tx.rows<Ended>(FINISH, [toJsonb([wish])]);
    if (ended === undefined) return undefined;
    // Locks are freed last: who is accepted takes them last, after the rows that this may wait for.
    await settle(tx);
    return { ...ended, ...(await release(tx, id, taker, this.#defaultLimit)) };
  }
}

function wishOf({ id, attempt, outcome, taker }: Finish, nr: number) {
  return {
    ...{ nr, asked_id: id, asked_attempt: attempt, new_status: outcome.status },
    new_result: outcome.status === "succeeded" ? (outcome.result ?? null) : null,
    new_error: outcome.status === "failed" ? outcome.error : null,
    ...takerOf(taker),
  };
}
