import { Batch } from "../platform/batch.js";
import { inBatches } from "../platform/batches.js";
import type { MasterKey } from "../platform/crypto.js";
import type { Database, Sql } from "../platform/sql.js";
import { IN_FLIGHT, NEVER, SEALED_UNTIL, type Taking, take } from "./takings.js";

/** A request that may come again. */
export interface Repeatable {
  /** Hash of the principal, the method, the path and the key. */
  readonly id: Uint8Array;
  /** Hash of the query and the body. */
  readonly requestHash: Uint8Array;
  readonly method: string;
  readonly path: string;
  /** Ids of the projects that the caller reaches; null: all. */
  readonly projects: readonly string[] | null;
  /** The refusal that was there when it came, as in `Found`. */
  readonly refusal?: string | null;
}

/** An answer as it is repeated. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Null: it has none, or one that is too large to be kept. */
  readonly body: string | null;
}

/** An answer as it is kept. */
export interface KeptAnswer extends Answer {
  /** The body with its secrets, where it has any: kept encrypted, and for minutes alone. */
  readonly secretBody?: string | null;
}

/** What is known of a request's key. */
export interface Found {
  readonly requestHash: Uint8Array;
  /** What its caller reached then, as in `Repeatable`. */
  readonly projects: readonly string[] | null;
  /** Null: in flight, or refused. */
  readonly answer: Answer | null;
  /** Names the refusal of a request that changed nothing: one that comes now may try again. */
  readonly refusal: string | null;
}

const RENEW_EVERY_MS = 4_000;
/** Longer than any request takes: nobody will settle a claim that is older. */
const LONGEST_MS = 120_000;
const BATCH = 5_000;

const FIND = {
  name: "idempotency_find_all",
  text: `SELECT nr::int, request_hash AS "requestHash", status, headers, body,
           CASE WHEN NOT all_projects THEN projects::text[] END AS projects,
           CASE WHEN status IS NULL AND locked_until = ${NEVER} THEN claim END AS refusal,
           CASE WHEN sealed_until > clock_timestamp() THEN sealed_body END AS "sealedBody"
         FROM unnest($1::bytea[]) WITH ORDINALITY AS asked (asked_id, nr), LATERAL (
           SELECT * FROM idempotency_keys
           WHERE id = asked_id AND expires_at > clock_timestamp()
             AND (status IS NOT NULL OR locked_until > clock_timestamp() OR locked_until = ${NEVER}) LIMIT 1) AS found`,
};

const SETTLE = {
  name: "idempotency_settle",
  text: `UPDATE idempotency_keys SET status = $3, headers = $4, body = $5, sealed_body = $6::bytea,
           sealed_until = ${SEALED_UNTIL("$6")}
         WHERE id = $1 AND claim = $2 AND status IS NULL`,
};

/** One that is locked is renewed by its effect (`STILL_HELD`), whose end is not waited for. */
const RENEW = {
  name: "idempotency_renew",
  text: `UPDATE idempotency_keys SET locked_until = clock_timestamp() + ${IN_FLIGHT}
         WHERE id = ANY (ARRAY(
           SELECT id FROM idempotency_keys JOIN unnest($1::bytea[], $2::uuid[]) AS mine (mine_id, mine_claim)
             ON id = mine_id AND claim = mine_claim
           WHERE status IS NULL FOR NO KEY UPDATE OF idempotency_keys SKIP LOCKED))`,
};

const RELEASE = {
  name: "idempotency_release",
  text: "DELETE FROM idempotency_keys WHERE id = $1 AND claim = $2 AND status IS NULL",
};

const UNSEAL = `UPDATE idempotency_keys SET sealed_body = NULL, sealed_until = NULL WHERE id IN
  (SELECT id FROM idempotency_keys WHERE sealed_until <= clock_timestamp() LIMIT ${BATCH})`;
const PRUNE = `DELETE FROM idempotency_keys WHERE id IN
  (SELECT id FROM idempotency_keys WHERE expires_at <= clock_timestamp() LIMIT ${BATCH})`;

interface Row {
  /** Which of those that were asked for it is, from 1 on. */
  readonly nr: number;
  readonly requestHash: Uint8Array;
  readonly status: number | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  readonly sealedBody: Uint8Array | null;
  readonly refusal: string | null;
  readonly projects: readonly string[] | null;
}

/** The memory of requests that came with an Idempotency-Key, in PostgreSQL: one for all processes. */
export class IdempotencyKeys {
  readonly #db: Database;
  readonly #masterKey: MasterKey;
  readonly #rows: Batch<Uint8Array, Row | null>;
  /** Claims of this process, by the names of their takings. */
  readonly #held = new Map<string, { readonly id: Uint8Array; readonly since: number }>();
  #renewals: NodeJS.Timeout | null = null;

  constructor(db: Database, masterKey: MasterKey) {
    this.#db = db;
    this.#masterKey = masterKey;
    this.#rows = new Batch(async (ids) => {
      const found: (Row | null)[] = ids.map(() => null);
      for (const row of await db.rows<Row>(FIND, [ids])) found[row.nr - 1] = row;
      return found;
    });
  }

  /** What is known of a key; null where nobody has it. */
  async find(id: Uint8Array): Promise<Found | null> {
    const row = await this.#rows.ask(id);
    if (row === null) return null;
    const { requestHash, projects, status, headers, refusal } = row;
    const answer = status === null ? null : { status, headers, body: this.#bodyOf(id, row) };
    return { requestHash, projects, answer, refusal };
  }

  #bodyOf(id: Uint8Array, { body, sealedBody }: Row): string | null {
    if (sealedBody === null) return body;
    return this.#masterKey.decrypt("idempotency-answers", hexOf(id), sealedBody).toString();
  }

  /**
   * Takes the key for a request; false where another has it. The request ends with `settle` or `release`; where its
   * process dies before, the key is free again after 15 seconds.
   * @param claim names this taking of the key
   */
  async claim(request: Repeatable, claim: string): Promise<boolean> {
    const [isMine] = await take(this.#db, [this.takingOf(request, claim, null)]);
    if (isMine !== true) return false;
    this.#held.set(claim, { id: request.id, since: performance.now() });
    this.#renewals ??= setInterval(() => void this.#renew(), RENEW_EVERY_MS).unref();
    return true;
  }

  /** One statement for all that are in flight here, however many. Never rejects: the next one may work. */
  async #renew(): Promise<void> {
    const oldest = performance.now() - LONGEST_MS;
    for (const [claim, { since }] of this.#held) if (since < oldest) this.#held.delete(claim);
    if (this.#held.size === 0) {
      if (this.#renewals !== null) clearInterval(this.#renewals);
      this.#renewals = null;
      return;
    }
    const ids = [...this.#held.values()].map(({ id }) => id);
    await this.#db.run(RENEW, [ids, [...this.#held.keys()]]).catch(() => {});
  }

  /**
   * Takes the key and keeps the answer within the transaction of the effect: they stand there together or not at
   * all. False where another request has the key: then the effect must not be.
   */
  async keep(tx: Sql, request: Repeatable, claim: string, answer: KeptAnswer): Promise<boolean> {
    const [isMine] = await take(tx, [this.takingOf(request, claim, answer)]);
    return isMine === true;
  }

  /**
   * Writes down that a request was refused: a copy of it that came before and is still on its way, at
   * whichever process, has no effect after that. False where another request has the key: it may have had its effect.
   */
  async refuse(request: Repeatable, claim: string): Promise<boolean> {
    const taking = { ...this.takingOf(request, claim, null), refused: true };
    const [isMine] = await take(this.#db, [taking]);
    return isMine === true;
  }

  /** Keeps the answer; false where another has the key by now. */
  async settle(id: Uint8Array, claim: string, answer: KeptAnswer): Promise<boolean> {
    this.#held.delete(claim);
    return (await this.#db.run(SETTLE, [id, claim, ...this.#valuesOf(id, answer)])) > 0;
  }

  /** Gives the key back: the request has changed nothing. */
  async release(id: Uint8Array, claim: string): Promise<void> {
    this.#held.delete(claim);
    await this.#db.run(RELEASE, [id, claim]);
  }

  /** What a statement takes the key by that does it with the effect (`TAKE_FROM_WISH`); null: there is no answer yet. */
  takingOf(request: Repeatable, claim: string, answer: KeptAnswer | null): Taking {
    const { id, method, path, projects, refusal = null } = request;
    const sealed = answer === null ? null : this.#seal(id, answer);
    return {
      ...{ key: hexOf(id), claim, request_hash: hexOf(request.requestHash), method, path, projects },
      ...{ refused: false, refusal },
      ...{ status: answer?.status ?? null, headers: answer?.headers ?? null, body: answer?.body ?? null },
      sealed: sealed === null ? null : hexOf(sealed),
    };
  }

  #valuesOf(id: Uint8Array, answer: KeptAnswer): readonly unknown[] {
    return [answer.status, JSON.stringify(answer.headers), answer.body, this.#seal(id, answer)];
  }

  #seal(id: Uint8Array, { secretBody = null }: KeptAnswer): Uint8Array | null {
    return secretBody === null ? null : this.#masterKey.encrypt("idempotency-answers", hexOf(id), secretBody);
  }

  /** Removes what has expired, secrets first, in batches; says how much. */
  async prune(signal?: AbortSignal): Promise<number> {
    const unsealed = await inBatches(BATCH, signal, () => this.#db.run(UNSEAL));
    return unsealed + (await inBatches(BATCH, signal, () => this.#db.run(PRUNE)));
  }
}

/** As context of a ciphertext, too: one that is moved to another row does not open. */
function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
