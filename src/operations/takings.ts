import { type AppError, conflict } from "../platform/errors.js";
import { type Sql, toJsonb } from "../platform/sql.js";

const KEPT = "interval '24 hours'";
/** A claim that was not renewed for so long is of a process that has died. */
export const IN_FLIGHT = "interval '15 seconds'";
/** What a refusal is told by: its key was locked by nobody, ever. */
export const NEVER = "'-infinity'::timestamptz";
const SECRET_KEPT = "interval '10 minutes'";

export const SEALED_UNTIL = (sealed: string): string =>
  `CASE WHEN ${sealed}::bytea IS NOT NULL THEN clock_timestamp() + ${SECRET_KEPT} END`;

/** An Idempotency-Key that is to be taken, as statements read it; at once with the answer, where that is known. */
export interface Taking {
  readonly key: string;
  /** Names this taking of the key. */
  readonly claim: string;
  readonly request_hash: string;
  readonly method: string;
  readonly path: string;
  readonly projects: readonly string[] | null;
  readonly refused: boolean;
  readonly refusal: string | null;
  readonly status: number | null;
  readonly headers: Readonly<Record<string, string>> | null;
  readonly body: string | null;
  readonly sealed: string | null;
}

/** `Taking` in a list of columns with their types (`jsonb_to_recordset`). */
export const TAKING = `key text, claim uuid, request_hash text, method text, path text, projects jsonb, refused boolean,
  refusal uuid, status int, headers jsonb, body text, sealed text`;

/**
 * Takes those keys of `wish`, rows with the columns of `TAKING`, that nobody has, or nobody any more. One that was refused
 * goes to who knows of that refusal alone, so not to a copy of the refused request, or to another refusal. In the order of
 * the keys, so that no two transactions wait for each other. Returns the claims that were to be had.
 */
export const TAKE_FROM_WISH = `INSERT INTO idempotency_keys AS k
    (id, claim, request_hash, method, path, projects, all_projects, locked_until, expires_at,
     status, headers, body, sealed_body, sealed_until)
  SELECT decode(key, 'hex'), wish.claim, decode(wish.request_hash, 'hex'), wish.method, wish.path,
    ARRAY(SELECT jsonb_array_elements_text(coalesce(wish.projects, '[]'))::uuid), wish.projects IS NULL,
    CASE WHEN wish.refused THEN ${NEVER} ELSE clock_timestamp() + ${IN_FLIGHT} END,
    clock_timestamp() + ${KEPT},
    wish.status, coalesce(wish.headers, '{}'), wish.body, decode(sealed, 'hex'), ${SEALED_UNTIL("decode(sealed, 'hex')")}
  FROM wish WHERE key IS NOT NULL ORDER BY key
  ON CONFLICT (id) DO UPDATE
  SET claim = excluded.claim, request_hash = excluded.request_hash,
      projects = excluded.projects, all_projects = excluded.all_projects,
      status = excluded.status, headers = excluded.headers, body = excluded.body,
      sealed_body = excluded.sealed_body, sealed_until = excluded.sealed_until,
      locked_until = excluded.locked_until, created_at = clock_timestamp(), expires_at = excluded.expires_at
  WHERE k.expires_at <= clock_timestamp() OR k.status IS NULL AND k.locked_until <= clock_timestamp()
    AND (k.locked_until > ${NEVER} OR excluded.locked_until = ${NEVER} OR k.claim IN (SELECT refusal FROM wish))
  RETURNING claim`;

const TAKE = {
  name: "idempotency_take",
  text: `WITH wish AS (SELECT * FROM jsonb_to_recordset($1::jsonb) AS wish (${TAKING})) ${TAKE_FROM_WISH}`,
};

/** Takes keys; which of them were to be had. */
export async function take(sql: Sql, takings: readonly Taking[]): Promise<boolean[]> {
  const rows = await sql.rows<{ claim: string }>(TAKE, [toJsonb(takings)]);
  const taken = new Set(rows.map(({ claim }) => claim));
  return takings.map(({ claim }) => taken.has(claim));
}

/**
 * For the transaction of an effect whose request took its key before: no row where another may have the key by now, and the
 * effect must not be. Else nobody can take it until the effect is there, and the answer has its time after that.
 */
export const STILL_HELD = {
  name: "idempotency_still_held",
  text: `UPDATE idempotency_keys SET locked_until = clock_timestamp() + ${IN_FLIGHT}
         WHERE id = $1 AND claim = $2::uuid AND status IS NULL`,
};

/** What a request is told whose key another one has. */
export function keyInFlight(): AppError {
  return conflict("a request with this Idempotency-Key is in flight, or was just answered: send it again", {
    retryAfter: 1,
  });
}
