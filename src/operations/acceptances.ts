import { type Database, toJsonb } from "../platform/sql.js";
import { INSERT_FROM, NEW_ROW, type NewRow } from "./new-operation.js";
import { TAKE_FROM_WISH, TAKING, type Taking } from "./takings.js";
import { Together } from "./together.js";

/** A statement for several does not wait longer for a key that somebody else holds: each goes on by itself. */
const PATIENCE_MS = 100;

/** While one statement is committed another one is written; rows are nobody's else yet, so none waits for another. */
const AT_A_TIME = 2;

/** The patience is set before anything is read, so before anything is waited for. Each operation is there with its key or not at all. */
const ACCEPT = {
  name: "operations_accept",
  text: `WITH wish AS MATERIALIZED (
           SELECT * FROM jsonb_to_recordset($1::jsonb) AS wish (${NEW_ROW}, ${TAKING})
           WHERE set_config('lock_timeout', $2, true) IS NOT NULL),
         taken AS (${TAKE_FROM_WISH})
         ${INSERT_FROM} FROM wish LEFT JOIN taken USING (claim) WHERE key IS NULL OR taken.claim IS NOT NULL
         RETURNING id`,
};

/** Work that is accepted with nothing else to write than the answer under its Idempotency-Key. */
export interface Acceptance {
  readonly row: NewRow;
  /** Asked when it is about to be written; may throw instead. Null: it has no key. */
  readonly taking: (() => Taking) | null;
}

/** Accepts operations, group committed: those that are asked for while two statements are under way go together in the next. */
export class Acceptances {
  readonly #together: Together<Acceptance, true>;

  constructor(db: Database) {
    this.#together = new Together(async (acceptances, locking) => {
      const [wishes, patience] =
        locking === "FOR UPDATE"
          ? [acceptances.map(wishOf), "0"]
          : [withoutTrouble(acceptances), `${PATIENCE_MS}`];
      const rows = await db.rows<{ id: string }>(ACCEPT, [toJsonb(wishes), patience]);
      const accepted = new Set(rows.map(({ id }) => id));
      return acceptances.map(({ row }) => (accepted.has(row.id) ? true : undefined));
    }, AT_A_TIME);
  }

  /** False where another request has the key. */
  async accept(acceptance: Acceptance): Promise<boolean> {
    return (await this.#together.write(acceptance)) === true;
  }
}

type Wish = NewRow & Partial<Taking>;

const wishOf = ({ row, taking }: Acceptance): Wish => ({ ...row, ...taking?.() });

/** Left out is what would spoil the statement for all, to be refused alone: what may not be kept, and a key that comes twice. */
function withoutTrouble(acceptances: readonly Acceptance[]): Wish[] {
  const keys = new Set<string>();
  return acceptances.flatMap((acceptance) => {
    try {
      const wish = wishOf(acceptance);
      if (wish.key === undefined) return [wish];
      if (keys.has(wish.key)) return [];
      keys.add(wish.key);
      return [wish];
    } catch {
      return [];
    }
  });
}
