import { type Database, toJsonb } from "../platform/sql.js";
import { type Inserted, insertionOf } from "./insertion.js";
import { NEW_ROW, type NewRow } from "./new-operation.js";
import { TAKE_FROM_WISH, TAKING, type Taking } from "./takings.js";
import { Together } from "./together.js";

/** A statement for several does not wait longer for a key that somebody else holds: each goes on by itself. */
const PATIENCE_MS = 100;

/** While one statement is committed another one is written; rows are nobody's else yet, so none waits for another. */
const AT_A_TIME = 2;

/**
 * The patience is set before anything is read, so before anything is waited for. Each operation is there with its key or
 * not at all: rows, and beside each of them the taking of its key.
 */
const ACCEPT = {
  name: "operations_accept",
  text: `WITH wish AS MATERIALIZED (
           SELECT * FROM ROWS FROM (
             jsonb_to_recordset($1::jsonb) AS (${NEW_ROW}), jsonb_to_recordset($2::jsonb) AS (${TAKING})) AS wish
           WHERE set_config('lock_timeout', $3, true) IS NOT NULL),
         taken AS (${TAKE_FROM_WISH}),
         ${insertionOf("wish LEFT JOIN taken USING (claim) WHERE key IS NULL OR taken.claim IS NOT NULL", "$4", "$5")}`,
};

/** Work that is accepted with nothing else to write than the answer under its Idempotency-Key. */
export interface Acceptance {
  readonly row: NewRow;
  /** Asked when it is about to be written; may throw instead. Null: it has no key. */
  readonly taking: (() => Taking) | null;
}

/** Accepts operations, group committed: those that are asked for while two statements are under way go together in the next. */
export class Acceptances {
  readonly #together: Together<Acceptance, Inserted>;

  /**
   * @param limit slots of an organization of whom nothing was said
   * @param sends whether what is marked as sent will be
   */
  constructor(db: Database, limit: number, sends: boolean) {
    this.#together = new Together(async (acceptances, locking) => {
      const [wishes, patience] =
        locking === "FOR UPDATE"
          ? [acceptances.map(wishOf), "0"]
          : [withoutTrouble(acceptances), `${PATIENCE_MS}`];
      const values = [toJsonb(wishes.map(([row]) => row)), toJsonb(wishes.map(([, taking]) => taking))];
      const rows = await db.rows<Inserted>(ACCEPT, [...values, patience, limit, sends]);
      const inserted = new Map(rows.map((row) => [row.id, row]));
      return acceptances.map(({ row }) => inserted.get(row.id));
    }, AT_A_TIME);
  }

  /** Undefined where another request has the key. */
  accept(acceptance: Acceptance): Promise<Inserted | undefined> {
    return this.#together.write(acceptance);
  }
}

type Wish = readonly [row: NewRow, taking: Partial<Taking>];

const NO_KEY = {};
const wishOf = ({ row, taking }: Acceptance): Wish => [row, taking?.() ?? NO_KEY];

/** Left out is what would spoil the statement for all, to be refused alone: what may not be kept, and a key that comes twice. */
function withoutTrouble(acceptances: readonly Acceptance[]): Wish[] {
  const keys = new Set<string>();
  return acceptances.flatMap((acceptance) => {
    try {
      const wish = wishOf(acceptance);
      const { key } = wish[1];
      if (key === undefined) return [wish];
      if (keys.has(key)) return [];
      keys.add(key);
      return [wish];
    } catch {
      return [];
    }
  });
}
