import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { AppError } from "../platform/errors.js";
import type { Logger } from "../platform/logger.js";
import type { Sql, Statement } from "../platform/sql.js";

/** What a proof is: ids of one kind say nothing of those of another. */
export type ProofKind = "client-assertion" | "dpop";

/**
 * The ids are put in an order, so that two processes that insert the same ones wait for each other and never both
 * ways. What comes back is new.
 */
const USE: Statement = {
  name: "used_proofs_add",
  text: `INSERT INTO used_proofs (id, expires_at)
         SELECT decode(id, 'hex'), to_timestamp(expires_at / 1000)
         FROM unnest($1::text[], $2::float8[]) AS wanted(id, expires_at) ORDER BY id
         ON CONFLICT DO NOTHING RETURNING encode(id, 'hex') AS id`,
};
/** Clocks differ: a row outlives its proof by minutes. */
const PRUNE = `DELETE FROM used_proofs WHERE id IN
  (SELECT id FROM used_proofs WHERE expires_at < now() - interval '5 minutes' LIMIT 5000)`;
const PRUNE_EVERY_MS = 60_000;
const REMEMBERED = 10_000;

/** Proofs of one turn of the event loop, written with one statement. */
interface Batch {
  readonly expiries: Map<string, number>;
  readonly fresh: Promise<ReadonlySet<string>>;
}

/**
 * Ids of assertions (RFC 7523 section 3) and proofs (RFC 9449 section 11.1) that were used, in any process: a
 * second use is found out, also where both come at the same moment.
 */
export class UsedProofs {
  readonly #sql: Sql;
  readonly #logger: Logger;
  /** Answers the same proof over and over without the database. */
  readonly #known = new LRUCache<string, true>({ max: REMEMBERED });
  readonly #timer: NodeJS.Timeout;
  #next: Batch | null = null;

  constructor(sql: Sql, logger: Logger) {
    this.#sql = sql;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.#prune(), PRUNE_EVERY_MS).unref();
  }

  /**
   * Uses a proof up. Rejects with `unavailable` where the database cannot be asked: then nobody knows.
   * @param holder whose id it is: two may choose the same
   * @param expiresAt from when on the proof is refused anyway (milliseconds since 1970)
   * @returns false where it was used before
   */
  async use(kind: ProofKind, holder: string, jti: string, expiresAt: number): Promise<boolean> {
    const id = createHash("sha256")
      .update(JSON.stringify([kind, holder, jti]))
      .digest("hex");
    if (this.#known.has(id)) return false;
    this.#next ??= this.#newBatch();
    const { expiries, fresh } = this.#next;
    if (expiries.has(id)) return false;
    expiries.set(id, expiresAt);
    const isNew = (await fresh).has(id);
    this.#known.set(id, true);
    return isNew;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #newBatch(): Batch {
    const expiries = new Map<string, number>();
    const fresh = nextTurn().then(() => {
      this.#next = null;
      return this.#write(expiries);
    });
    return { expiries, fresh };
  }

  async #write(expiries: ReadonlyMap<string, number>): Promise<ReadonlySet<string>> {
    try {
      const rows = await this.#sql.rows<{ id: string }>(USE, [[...expiries.keys()], [...expiries.values()]]);
      return new Set(rows.map(({ id }) => id));
    } catch (cause) {
      const details = { retryAfter: 1 };
      throw new AppError("unavailable", "access cannot be checked at the moment", { details, cause });
    }
  }

  async #prune(): Promise<void> {
    await this.#sql.run(PRUNE).catch((error: unknown) => {
      this.#logger.debug({ err: error }, "used proofs could not be pruned");
    });
  }
}
