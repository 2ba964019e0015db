import { type Database, type Statement, toJsonb } from "../platform/sql.js";
import { URGENT } from "./catalog.js";
import { CLAIMED_COLUMNS } from "./columns.js";
import type { ClaimedOperation } from "./operation.js";
import { addSlots, limitOf, UNMEASURED } from "./slots.js";
import { inOrder, type Locking, operationOf, Together } from "./together.js";

/**
 * Where an operation can be done: null is anywhere. One that is cancelled before anybody began has nothing to undo
 * in its region, so it ends even where no worker serves that.
 */
export const WHERE_TO = "(CASE WHEN status = 'cancelling' AND attempt = 0 THEN NULL ELSE region END)";

/** What needs none of its organization's slots: somebody waits for it in a request, or it only has to end. */
const WITHOUT_SLOT = `(priority < ${URGENT} OR status = 'cancelling')`;

/**
 * Compare-and-sets, in the order of the operations' ids. Each operation's row is locked first, so of two claims one
 * waits, or leaves it out, and finds it taken: whatever became of that claim, as this statement sees the slots as they
 * were before the wait, and would take a second one. One that was claimed before keeps its slot. Of several free slots
 * each claim takes another, those that are being taken left out: none waits, and there are never more at work than slots.
 * Without a slot only the mark that it was sent is taken away. OFFSET keeps the first look from becoming a join, which
 * might read a whole small table (see `operationOf`).
 */
const CLAIM = (locking: Locking): string => `WITH asked AS (
           SELECT DISTINCT ON (asked_id) * FROM jsonb_to_recordset($1::jsonb)
             AS wish (nr int, asked_id uuid, worker text, lease_ms int, regions jsonb) ORDER BY asked_id, nr),
         wanted AS (
           SELECT asked.*, found.*
           FROM asked, LATERAL (SELECT attempt AS seen_attempt FROM operations WHERE id = asked_id OFFSET 0) AS seen, LATERAL (
             SELECT organization_id AS wanted_organization, attempt > 0 AS was_claimed, ${WITHOUT_SLOT} AS needs_none
             FROM operations
             WHERE id = asked_id AND attempt = seen_attempt AND status IN ('pending', 'running', 'cancelling')
               AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
               AND (${WHERE_TO} IS NULL OR regions ? region)
             ${locking}) AS found),
         held AS (
           SELECT asked_id AS held_id FROM wanted, LATERAL (
             SELECT FROM operation_slots
             WHERE was_claimed AND organization_id = wanted_organization AND operation_id = asked_id FOR UPDATE) AS slot),
         needy AS (
           SELECT asked_id AS needy_id, wanted_organization AS needy_organization,
             row_number() OVER (PARTITION BY wanted_organization ORDER BY nr) AS needy_place
           FROM wanted WHERE NOT needs_none AND asked_id NOT IN (SELECT held_id FROM held)),
         free AS (
           SELECT *, row_number() OVER (PARTITION BY free_organization ORDER BY free_slot) AS free_place
           FROM (SELECT needy_organization, count(*) AS many FROM needy GROUP BY 1) AS need, LATERAL (
             SELECT organization_id AS free_organization, slot AS free_slot FROM operation_slots
             WHERE organization_id = needy_organization AND operation_id IS NULL
               AND slot <= ${limitOf("needy_organization", "$2")}
             ORDER BY slot LIMIT many FOR UPDATE SKIP LOCKED) AS found),
         taken AS (
           UPDATE operation_slots SET operation_id = needy_id
           FROM free JOIN needy ON free_organization = needy.needy_organization AND free_place = needy_place
           WHERE organization_id = free_organization AND slot = free_slot RETURNING needy_id AS taken_id),
         judged AS MATERIALIZED (
           SELECT *, needs_none OR asked_id IN (SELECT held_id FROM held) OR asked_id IN (SELECT taken_id FROM taken) AS admitted
           FROM wanted)
         UPDATE operations SET
           status = CASE WHEN admitted AND status = 'pending' THEN 'running'::operation_status ELSE status END,
           attempt = CASE WHEN admitted THEN attempt + 1 ELSE attempt END,
           revision = CASE WHEN admitted THEN revision + 1 ELSE revision END,
           leased_by = CASE WHEN admitted THEN worker END,
           progress = CASE WHEN admitted THEN ${UNMEASURED} ELSE progress END,
           started_at = CASE WHEN admitted THEN coalesce(started_at, clock_timestamp()) ELSE started_at END,
           lease_expires_at = CASE WHEN admitted THEN clock_timestamp() + lease_ms * interval '1 millisecond' END,
           dispatched_at = CASE WHEN admitted THEN dispatched_at END
         FROM judged WHERE ${operationOf("asked_id", "judged")}
         RETURNING nr, admitted, NOT admitted AND NOT EXISTS (
             SELECT FROM operation_slots
             WHERE organization_id = wanted_organization AND slot = ${limitOf("wanted_organization", "$2")}) AS lacking,
           ${CLAIMED_COLUMNS}`;

const CLAIMS: Readonly<Record<Locking, Statement>> = {
  "FOR UPDATE": { name: "operation_claim", text: CLAIM("FOR UPDATE") },
  "FOR UPDATE SKIP LOCKED": { name: "operation_claim_all", text: CLAIM("FOR UPDATE SKIP LOCKED") },
};

type Judged = ClaimedOperation & {
  readonly nr: number;
  readonly admitted: boolean;
  /** It was not admitted, and not all slots of its organization were there. */
  readonly lacking: boolean;
};

/** A worker's wish to work at an operation. */
export interface Claim {
  readonly id: string;
  readonly workerId: string;
  readonly leaseMs: number;
  /** That the worker serves. */
  readonly regions: readonly string[];
}

/** Claims of one process, group committed. */
export class Claims {
  readonly #db: Database;
  readonly #defaultLimit: number;
  readonly #together = new Together<Claim, Judged>((claims, locking) => this.#judge(claims, locking));

  constructor(db: Database, defaultLimit: number) {
    this.#db = db;
    this.#defaultLimit = defaultLimit;
  }

  /** Takes an operation that nobody works at; null where that cannot be, or its organization has no slot left. */
  async claim(wish: Claim): Promise<ClaimedOperation | null> {
    const judged = await this.#together.write(wish);
    if (judged === undefined || !judged.admitted) return null;
    const { nr: _nr, admitted: _admitted, lacking: _lacking, ...operation } = judged;
    return operation;
  }

  async #judge(claims: readonly Claim[], locking: Locking): Promise<(Judged | undefined)[]> {
    const wishes = claims.map(({ id, workerId, leaseMs, regions }, nr) => ({
      ...{ nr, asked_id: id, worker: workerId, lease_ms: leaseMs, regions },
    }));
    const judge = (some: readonly object[]): Promise<Judged[]> =>
      this.#db.rows<Judged>(CLAIMS[locking], [toJsonb(some), this.#defaultLimit]);
    const judged = await judge(wishes);
    // The first of its organization, or the first since that was given more slots.
    const lacking = judged.filter((each) => each.lacking);
    if (lacking.length === 0) return inOrder(claims, judged);
    for (const organizationId of new Set(lacking.map((each) => each.organizationId)))
      await addSlots(this.#db, organizationId, this.#defaultLimit);
    // Whoever has added them. What is left out this time has no answer yet.
    const again = await judge(lacking.map(({ nr }) => wishes[nr] ?? {}));
    return inOrder(claims, [...judged.filter((each) => !each.lacking), ...again]);
  }
}
