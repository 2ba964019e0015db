import type { Principal } from "../../auth/principal.js";
import { holderOf } from "../../operations/holder.js";
import { conflict, invalid, notFound } from "../../platform/errors.js";
import { databaseNow, type Sql } from "../../platform/sql.js";
import { auditSql } from "../audit/audit.js";
import { nextTick, parseCron, parseTimeZone } from "../schedules/cron.js";
import type { DueSchedule, Overlap, ScheduleBook, ScheduleState } from "../schedules/engine.js";
import { system } from "../system.js";
import { acceptCommand, type DeploymentDeps } from "./accept.js";
import { type DeploymentRef, type HeldDeployment, holdOne } from "./access.js";
import type { ArchiveCommands } from "./archive-commands.js";
import type { Deployments } from "./deployments.js";
import { DEPLOYMENT } from "./operations.js";
import { refusal } from "./state.js";

export interface ScheduleInput {
  /** Five fields, or @daily, @hourly ... */
  readonly cron: string;
  /** IANA name. */
  readonly timeZone: string;
  /** How many of the snapshots that it makes are kept; null: as many as the plan keeps. */
  readonly keep: number | null;
  readonly overlap: Overlap;
}

export interface ScheduleView extends ScheduleInput {
  readonly deploymentId: string;
  /** Null: never. */
  readonly nextRunAt: Date | null;
  /** Since when a snapshot waits for the end of another operation; null: none does. */
  readonly queuedAt: Date | null;
  /** When a tick last passed without a snapshot. */
  readonly lastSkippedAt: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const COLUMNS = `deployment_id AS "deploymentId", cron, time_zone AS "timeZone", keep, overlap, next_run_at AS "nextRunAt",
  queued_at AS "queuedAt", last_skipped_at AS "lastSkippedAt", created_at AS "createdAt", updated_at AS "updatedAt"`;

const READ = {
  name: "snapshot_schedule_read",
  text: `SELECT ${COLUMNS} FROM snapshot_schedules WHERE deployment_id = $1`,
};

/** One that comes at the same times as before goes on: what is due stays due, and what waits waits on. */
const GOES_ON = "s.cron = excluded.cron AND s.time_zone = excluded.time_zone";

const PUT = {
  name: "snapshot_schedule_put",
  text: `INSERT INTO snapshot_schedules AS s (deployment_id, cron, time_zone, keep, overlap, next_run_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (deployment_id) DO UPDATE SET cron = excluded.cron, time_zone = excluded.time_zone,
           keep = excluded.keep, overlap = excluded.overlap, updated_at = now(),
           next_run_at = CASE WHEN ${GOES_ON} THEN s.next_run_at ELSE excluded.next_run_at END,
           queued_at = CASE WHEN ${GOES_ON} AND excluded.overlap = 'queue' THEN s.queued_at END
         RETURNING ${COLUMNS}`,
};

/** A schedule and its deployment, held. */
const HELD = `SELECT s.deployment_id AS id, s.cron, s.time_zone AS "timeZone", s.overlap, s.next_run_at AS "nextAt",
    s.queued_at AS "queuedAt", d.organization_id AS "organizationId", d.project_id AS "projectId",
    clock_timestamp() AS now
  FROM snapshot_schedules s JOIN deployments d ON d.id = s.deployment_id
  WHERE d.terminated_at IS NULL`;

const DUE = {
  name: "snapshot_schedules_due",
  text: `${HELD} AND s.next_run_at <= now() AND NOT s.deployment_id = ANY ($1::uuid[]) ORDER BY s.next_run_at LIMIT 1 FOR UPDATE OF s, d SKIP LOCKED`,
};

const UNBLOCKED = {
  name: "snapshot_schedules_queued",
  text: `${HELD} AND s.queued_at IS NOT NULL AND NOT s.deployment_id = ANY ($1::uuid[]) AND NOT EXISTS (
           SELECT FROM operation_locks l WHERE l.resource_type = $2 AND l.resource_id = s.deployment_id)
         ORDER BY s.queued_at LIMIT 1 FOR UPDATE OF s, d SKIP LOCKED`,
};

const WRITE = {
  name: "snapshot_schedule_ticked",
  text: `UPDATE snapshot_schedules SET next_run_at = $2, queued_at = $3,
           last_skipped_at = CASE WHEN $4 THEN clock_timestamp() ELSE last_skipped_at END WHERE deployment_id = $1`,
};

type Due = Omit<DueSchedule, "obstacle">;

interface DueSnapshot extends DueSchedule {
  readonly on: HeldDeployment;
}

/** When snapshots are made by themselves. Never beside another operation, which a snapshot may wait for. */
export class SnapshotSchedules implements ScheduleBook<DueSnapshot> {
  readonly kind = DEPLOYMENT;
  readonly due =
    "EXISTS (SELECT FROM snapshot_schedules WHERE next_run_at <= now()) OR EXISTS (SELECT FROM snapshot_schedules WHERE queued_at IS NOT NULL)";
  readonly #deps: DeploymentDeps;
  readonly #deployments: Deployments;
  readonly #archives: ArchiveCommands;

  constructor(deps: DeploymentDeps, deployments: Deployments, archives: ArchiveCommands) {
    this.#deps = deps;
    this.#deployments = deployments;
    this.#archives = archives;
  }

  async get(principal: Principal, ref: DeploymentRef): Promise<ScheduleView> {
    await this.#deployments.find(this.#deps.db, principal, ref);
    const [row] = await this.#deps.db.rows<ScheduleView>(READ, [ref.id]);
    if (row === undefined) throw notFound("snapshot schedule");
    return row;
  }

  /** Sets or replaces it. Throws an invalid request for what is no cron expression or no time zone. */
  async put(principal: Principal, ref: DeploymentRef, input: ScheduleInput): Promise<ScheduleView> {
    const cron = cronOf(input.cron);
    const timeZone = zoneOf(input.timeZone);
    return this.#deps.db.transaction(async (tx) => {
      const on = await holdOne(tx, principal, ref);
      if (on.terminatedAt !== null) throw conflict("the database is terminated");
      const ofPlan = this.#deps.catalog.planOf(on.plan)?.snapshots ?? 0;
      if (ofPlan < (input.keep ?? 1)) {
        throw fault("/keep", `must be at most ${ofPlan}: the plan ${on.plan} keeps no more snapshots`);
      }
      const next = nextTick(cron, timeZone, await databaseNow(tx));
      const [row] = await tx.rows<ScheduleView>(PUT, [
        ...[on.id, cron, timeZone, input.keep, input.overlap, next, principal.name],
      ]);
      if (row === undefined) throw new Error("an insert returned no row");
      await note(tx, principal, on, "snapshotSchedule.put", { ...input });
      return row;
    });
  }

  /** What it has made stays. */
  async delete(principal: Principal, ref: DeploymentRef): Promise<void> {
    await this.#deps.db.transaction(async (tx) => {
      const on = await holdOne(tx, principal, ref);
      const gone = await tx.run("DELETE FROM snapshot_schedules WHERE deployment_id = $1", [on.id]);
      if (gone === 0) throw notFound("snapshot schedule");
      await note(tx, principal, on, "snapshotSchedule.delete", {});
    });
  }

  async take(tx: Sql, except: readonly string[]): Promise<DueSnapshot | null> {
    const [ticked] = await tx.rows<Due>(DUE, [except]);
    const [due] = ticked === undefined ? await tx.rows<Due>(UNBLOCKED, [except, DEPLOYMENT]) : [ticked];
    if (due === undefined) return null;
    const on = await holdOne(tx, system("scheduler", due.organizationId), { id: due.id, engine: null });
    const activeOperationId = await holderOf(tx, { type: DEPLOYMENT, id: on.id });
    const reason = this.#reasonAgainst(activeOperationId, on);
    const obstacle = reason === null ? null : { name: on.name, reason, activeOperationId };
    // An operation ends by itself; a database that rests, or of which no snapshot can be made, may stay that for years.
    const overlap = activeOperationId === null ? "skip" : due.overlap;
    return { ...due, overlap, obstacle, on };
  }

  async start(tx: Sql, principal: Principal, { on }: DueSnapshot): Promise<void> {
    const acceptance = await this.#archives.planSnapshot(tx, principal, on, "schedule");
    const snapshot = { command: "snapshot", on, scheduled: true, ...acceptance } as const;
    await acceptCommand(tx, this.#deps.ledger, principal, snapshot);
  }

  async write(tx: Sql, { id }: DueSnapshot, { nextAt, queuedAt, skipped }: ScheduleState): Promise<void> {
    await tx.run(WRITE, [id, nextAt, queuedAt, skipped]);
  }

  /** Never beside another operation, and not again and again of what rests. */
  #reasonAgainst(activeId: string | null, { state, plan }: HeldDeployment): string | null {
    if (activeId !== null) return `operation ${activeId} is at work`;
    if (state === "paused") return "the database is paused";
    if (this.#deps.catalog.planOf(plan)?.snapshots === 0) return `the plan ${plan} keeps no snapshots`;
    return refusal("snapshot", state);
  }
}

function cronOf(text: string): string {
  const cron = orNull(() => parseCron(text, "/cron"));
  if (cron !== null) return cron;
  throw fault("/cron", `"${text}" must be five cron fields such as "0 3 * * *", or @daily, @hourly ...`);
}

function zoneOf(text: string): string {
  const zone = orNull(() => parseTimeZone(text, "/timezone"));
  if (zone !== null) return zone;
  throw fault("/timezone", `"${text}" is no time zone, such as Europe/Berlin`);
}

/** Null where a text is none: these messages name the member. */
function orNull<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch {
    return null;
  }
}

function fault(path: string, message: string) {
  return invalid(`${path} ${message}`, [{ path, message }]);
}

async function note(
  tx: Sql,
  principal: Principal,
  on: HeldDeployment,
  action: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  const target = { type: DEPLOYMENT, id: on.id };
  await auditSql(tx, principal, {
    action,
    target,
    projectId: on.projectId,
    details: { name: on.name, ...details },
  });
}
